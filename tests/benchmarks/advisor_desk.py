"""A second transaction mix: a help desk's tickets, messages, sessions and job queue, primary keys only.

Made of what an index can spoil: columns that every request updates and some request sorts by, a queue whose state
changes once for each job, few rows that matter among many. Written after the advisor was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import md5
from random import Random
from typing import Any

import psycopg

from tests.benchmarks.advisor_oltp import Mix

Connection = psycopg.Connection[Any]
ORGS, PEOPLE, AGENTS, TICKETS, MESSAGES, SESSIONS, JOBS = 400, 12_000, 120, 60_000, 200_000, 30_000, 60_000

DDL = (
    "CREATE TABLE org (org_id int PRIMARY KEY, name text, plan text)",
    """CREATE TABLE person (person_id int PRIMARY KEY, org_id int, email text, name text, last_login timestamptz,
        active boolean)""",
    """CREATE TABLE ticket (ticket_id bigserial PRIMARY KEY, org_id int, person_id int, agent_id int, status text,
        priority int, subject text, opened_at timestamptz, updated_at timestamptz, views int DEFAULT 0,
        deleted_at timestamptz)""",
    """CREATE TABLE message (message_id bigserial PRIMARY KEY, ticket_id bigint, author_id int, recipient_id int,
        body text, created_at timestamptz, seen boolean)""",
    """CREATE TABLE session (session_id bigserial PRIMARY KEY, token text, person_id int, last_seen timestamptz,
        expires_at timestamptz)""",
    """CREATE TABLE job (job_id bigserial PRIMARY KEY, queue text, state text, priority int, run_at timestamptz,
        attempts int, payload text)""",
)
HAND_MADE = (
    "CREATE INDEX ON person (lower(email))",
    "CREATE INDEX ON ticket (agent_id, status)",
    "CREATE INDEX ON ticket (org_id)",
    "CREATE INDEX ON message (ticket_id)",
    "CREATE INDEX ON message (recipient_id) WHERE NOT seen",
    "CREATE INDEX ON session (token)",
    "CREATE INDEX ON job (queue, priority, job_id) WHERE state = 'ready'",
)


def _load(scale: float) -> Sequence[str]:
    people, tickets = max(100, int(PEOPLE * scale)), max(300, int(TICKETS * scale))
    messages, sessions, jobs = (max(300, int(n * scale)) for n in (MESSAGES, SESSIONS, JOBS))
    ago = "timestamptz '2026-01-01' - interval '1 minute' *"
    return (
        "SELECT setseed(0.23)",
        f"INSERT INTO org SELECT k, 'org ' || k, 'plan' || k % 4 FROM generate_series(1, {ORGS}) k",
        f"""INSERT INTO person SELECT k, 1 + floor(power(random(), 2) * {ORGS})::int, 'User' || k || '@Example.org',
            md5(k::text), {ago} k, random() < 0.9 FROM generate_series(1, {people}) k""",
        f"""INSERT INTO ticket (org_id, person_id, agent_id, status, priority, subject, opened_at, updated_at,
            deleted_at) SELECT 1 + floor(power(random(), 2) * {ORGS})::int, 1 + floor(random() * {people})::int,
            1 + floor(random() * {AGENTS})::int, CASE WHEN random() < 0.06 THEN 'open' WHEN random() < 0.05
            THEN 'waiting' ELSE 'closed' END, 1 + floor(random() * 4)::int, md5(k::text), {ago} (500000 - 8 * k),
            {ago} (499990 - 8 * k), CASE WHEN random() < 0.02 THEN now() END FROM generate_series(1, {tickets}) k""",
        f"""INSERT INTO message (ticket_id, author_id, recipient_id, body, created_at, seen) SELECT
            1 + floor(random() * {tickets})::int, 1 + floor(random() * {people})::int,
            1 + floor(random() * {people})::int, repeat(md5(k::text), 5), {ago} (500000 - k), random() < 0.97
            FROM generate_series(1, {messages}) k""",
        f"""INSERT INTO session (token, person_id, last_seen, expires_at) SELECT md5('t' || k), 1 + k % {people},
            {ago} k, {ago} (k - 20000) FROM generate_series(1, {sessions}) k""",
        f"""INSERT INTO job (queue, state, priority, run_at, attempts, payload) SELECT 'queue' || k % 5,
            CASE WHEN k > {jobs} * 0.97 THEN 'ready' ELSE 'done' END, 1 + k % 3, {ago} (500000 - k), 1,
            repeat('p', 80) FROM generate_series(1, {jobs}) k""",
    )


class Desk:
    """One server process of the help desk: runs its requests with the connection's own parameters."""

    def __init__(self, connection: Connection, random: Random) -> None:
        self.connection, self.random = connection, random
        self.people, self.tickets, self.sessions = (
            int(self._run(f"SELECT count(*) FROM {t}", [])[0][0]) for t in ("person", "ticket", "session")
        )

    def _run(self, text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        done = self.connection.execute(text.encode(), values)
        return done.fetchall() if done.description else []

    def request(self) -> None:
        """Every request knows its session and marks it as seen."""
        token = md5(f"t{self.random.randint(1, self.sessions)}".encode(), usedforsecurity=False).hexdigest()
        self._run(
            """SELECT s.session_id, p.person_id, p.name FROM session s JOIN person p USING (person_id)
               WHERE s.token = %s""",
            [token],
        )
        self._run("UPDATE session SET last_seen = now() WHERE token = %s", [token])

    def login(self) -> None:
        number = self.random.randint(1, self.people)
        found = self._run(
            "SELECT person_id, active FROM person WHERE lower(email) = lower(%s)",
            [f"user{number}@example.org"],
        )
        for person, _ in found:
            self._run("UPDATE person SET last_login = now() WHERE person_id = %s", [person])
            self._run(
                """INSERT INTO session (token, person_id, last_seen, expires_at)
                   VALUES (md5(%s), %s, now(), now() + interval '1 day')""",
                [f"n{number}", person],
            )

    def inbox(self) -> None:
        self.request()
        self._run(
            """SELECT ticket_id, subject, updated_at FROM ticket WHERE agent_id = %s AND status = 'open'
               AND deleted_at IS NULL ORDER BY updated_at DESC LIMIT 20""",
            [self.random.randint(1, AGENTS)],
        )

    def view(self) -> None:
        self.request()
        ticket = self.random.randint(1, self.tickets)
        self._run(
            """SELECT t.*, o.name FROM ticket t JOIN org o USING (org_id) WHERE ticket_id = %s""", [ticket]
        )
        self._run(
            "SELECT author_id, body, created_at FROM message WHERE ticket_id = %s ORDER BY created_at",
            [ticket],
        )
        self._run("UPDATE ticket SET views = views + 1 WHERE ticket_id = %s", [ticket])

    def reply(self) -> None:
        self.request()
        ticket, author = self.random.randint(1, self.tickets), self.random.randint(1, self.people)
        self._run(
            """INSERT INTO message (ticket_id, author_id, recipient_id, body, created_at, seen)
               VALUES (%s, %s, %s, %s, now(), false)""",
            [ticket, author, self.random.randint(1, self.people), "thank you " * 12],
        )
        self._run("UPDATE ticket SET updated_at = now() WHERE ticket_id = %s", [ticket])
        self._run(
            "INSERT INTO job (queue, state, priority, run_at, attempts, payload) VALUES (%s, 'ready', 2, now(), 0, %s)",
            [f"queue{ticket % 5}", "mail " * 16],
        )

    def unseen(self) -> None:
        self.request()
        person = self.random.randint(1, self.people)
        self._run("SELECT count(*) FROM message WHERE recipient_id = %s AND NOT seen", [person])
        if self.random.random() < 0.2:
            self._run("UPDATE message SET seen = true WHERE recipient_id = %s AND NOT seen", [person])

    def work(self) -> None:
        found = self._run(
            """SELECT job_id, payload FROM job WHERE queue = %s AND state = 'ready' AND run_at <= now()
               ORDER BY priority, job_id LIMIT 1 FOR UPDATE SKIP LOCKED""",
            [f"queue{self.random.randint(0, 4)}"],
        )
        for job, _ in found:
            self._run("UPDATE job SET state = 'done', attempts = attempts + 1 WHERE job_id = %s", [job])

    def listing(self) -> None:
        self.request()
        self._run(
            """SELECT ticket_id, subject, status FROM ticket WHERE org_id = %s AND opened_at > %s::timestamptz
               ORDER BY opened_at DESC LIMIT 50""",
            [self.random.randint(1, ORGS), f"2025-{self.random.randint(1, 11):02}-01"],
        )

    def close(self) -> None:
        """A ticket changes hands or is closed."""
        ticket = self.random.randint(1, self.tickets)
        if self.random.random() < 0.5:
            self._run(
                "UPDATE ticket SET status = 'closed', updated_at = now() WHERE ticket_id = %s", [ticket]
            )
        else:
            self._run(
                "UPDATE ticket SET agent_id = %s, updated_at = now() WHERE ticket_id = %s",
                [self.random.randint(1, AGENTS), ticket],
            )

    def expire(self) -> None:
        day = f"2025-12-{self.random.randint(1, 9):02}"
        self._run("DELETE FROM session WHERE expires_at < %s::timestamptz - interval '10 days'", [day])


DECK: tuple[tuple[Callable[[Any], None], int], ...] = (
    (Desk.view, 34),
    (Desk.inbox, 16),
    (Desk.reply, 14),
    (Desk.unseen, 12),
    (Desk.work, 12),
    (Desk.listing, 5),
    (Desk.login, 3),
    (Desk.close, 3),
    (Desk.expire, 1),
)

DESK = Mix(
    "desk",
    DDL,
    _load,
    (
        ("person", "org_id"),
        ("ticket", "org_id"),
        ("ticket", "person_id"),
        ("ticket", "agent_id"),
        ("message", "ticket_id"),
        ("message", "author_id"),
        ("message", "recipient_id"),
        ("session", "person_id"),
    ),
    HAND_MADE,
    1_500,
    Desk,
    DECK,
)
