# Sourced by .ci/run: starts Debian's PostgreSQL 15 (as nobody: it refuses root) and Redis, and exports their URLs.
debian="$work/debian"
mkdir -p "$debian/data"
chmod 755 "$work" "$debian"
as_nobody="setpriv --reuid=nobody --regid=nogroup --clear-groups"
chown nobody:nogroup "$debian/data"
$as_nobody /usr/lib/postgresql/15/bin/initdb -D "$debian/data" -U postgres --auth=trust \
  --encoding=UTF8 --locale=C.UTF-8 --no-sync >/dev/null
port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(cd / && $as_nobody /usr/lib/postgresql/15/bin/postgres -D "$debian/data" -p "$port" -c listen_addresses=127.0.0.1 \
  -c unix_socket_directories= -c shared_preload_libraries=pg_stat_statements -c track_io_timing=on -c fsync=off \
  -c compute_query_id=on >/dev/null 2>&1) &
redis_port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --dir "$debian" --maxmemory 256mb >/dev/null &
redis_pid=$!
for _ in $(seq 100); do
  /usr/lib/postgresql/15/bin/pg_isready -q -h 127.0.0.1 -p "$port" && redis-cli -p "$redis_port" ping >/dev/null 2>&1 && break
  sleep 0.1
done
export DATABASE_URL="postgresql://postgres@127.0.0.1:$port/postgres" REDIS_URL="redis://127.0.0.1:$redis_port/0"
