"""``manage.py perf``: every way to use the app from a shell. Thin: the runner, the ledger and the advisor work."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, connections
from django.template.loader import render_to_string
from django.utils import timezone
from tqdm import tqdm

from paiid_perf.conf import get_settings
from paiid_perf.database import index_changes
from paiid_perf.database.advisor import WATCHED, advise
from paiid_perf.database.index_types import Advice, Statement
from paiid_perf.database.rules.indexes import render, script
from paiid_perf.database.session import is_postgresql
from paiid_perf.exceptions import (
    ActionFailed,
    ActionRefused,
    AlreadyRunning,
    ConfigurationError,
    InvalidTransition,
    PerfError,
)
from paiid_perf.models import Mark, OptimizationRun, Recommendation
from paiid_perf.optimization import health as site_health
from paiid_perf.optimization import ledger, marks, reports, runner
from paiid_perf.security import blocks, chain

DONE, PHASE_FAILED, USAGE, ALREADY_RUNNING = 0, 1, 2, 3
EPILOG = """
examples:
  perf run                          a full run, changing only what the policies allow
  perf run --dry-run                the same, changing nothing
  perf run --apply                  a person is watching: apply what the policies would only report
  perf run --quick --json           look, score and warm; end with one JSON object
  perf advise --format sql          print indexes that pay, one executable statement a line
  perf advise --workload app.sql    the same for the statements of a file
  perf status                       what runs, the last score, what waits for you
  perf report --window 24h          everything on one page, as Markdown
  perf approve 12                   let the next run apply recommendation #12
  perf revert 12                    take change #12 back
  perf report --format html --out report.html
  perf ban 203.0.113.7 --minutes 60 --reason scanner

exit status: 0 done, 1 a phase failed, 2 usage, 3 another run is at work
"""


class Command(BaseCommand):
    """One command, a subcommand for each thing to do."""

    help = "Find out why the site is slow or exposed, fix what policy allows, prove it, or take it back."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, epilog=EPILOG, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        for name, (help_text, add, _) in ACTIONS.items():
            sub = actions.add_parser(name, help=help_text, description=help_text)
            add(sub)

    def handle(self, *args: Any, **options: Any) -> None:
        _, _, work = ACTIONS[options["action"]]
        try:
            code = work(self, options)
        except AlreadyRunning as error:
            self.stderr.write(str(error))
            code = ALREADY_RUNNING
        except BrokenPipeError:
            # Whoever read (head, less) has seen enough; what Python still holds back goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = DONE
        except PerfError as error:
            raise CommandError(str(error), returncode=USAGE) from error
        except (OperationalError, InterfaceError, psycopg.OperationalError) as error:
            raise CommandError(f"the database does not answer: {error}", returncode=PHASE_FAILED) from error
        if code:
            sys.exit(code)

    def tell(self, found: Any) -> None:
        """One JSON object."""
        self.stdout.write(json.dumps(found, indent=2))


# --- run --------------------------------------------------------------------------------------------------


def _run_arguments(parser: ArgumentParser) -> None:
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--full", action="store_true", help="every phase, changes included (the default)")
    kind.add_argument("--quick", action="store_true", help="look, score and warm; change nothing else")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--apply",
        action="store_true",
        help="you are watching: for this run, apply what the policies would only report or ask approval for",
    )
    how.add_argument("--dry-run", action="store_true", help="change nothing at all")
    parser.add_argument("--json", action="store_true", help="print the finished run as JSON")


def _run(command: Command, options: dict[str, Any]) -> int:
    queued = runner.request("quick" if options["quick"] else "full", "command", dry_run=options["dry_run"])
    with _progress() as report:
        run = runner.execute(queued.pk, apply=options["apply"], report=report)
    if options["json"]:
        command.tell(site_health.describe(run))
    else:
        command.stdout.write(_outcome(run))
    return DONE if run.status == OptimizationRun.Status.SUCCEEDED else PHASE_FAILED


@contextmanager
def _progress() -> Iterator[Callable[[float, str], None]]:
    """A bar on a terminal, nothing in a pipe."""
    shown = "{desc} {percentage:3.0f}% |{bar}| {elapsed} {postfix}"
    with tqdm(total=100, desc="Run", bar_format=shown, disable=not sys.stderr.isatty()) as bar:

        def report(fraction: float, step: str) -> None:
            bar.set_postfix_str(step[:60], refresh=False)
            bar.update(round(100 * fraction) - bar.n)

        yield report


def _outcome(run: OptimizationRun) -> str:
    lines = [f"Run #{run.pk} {run.status} in {run.seconds or 0:.1f} s: {run.step}"]
    lines += [
        f"  {phase.name:<11} {phase.status:<10} {phase.seconds or 0:6.1f} s  {phase.summary}"
        for phase in run.phases.all()
    ]
    lines += [f"  error: {line}" for line in run.error.splitlines()]
    return "\n".join([*lines, *_score(run.score)])


def _score(score: dict[str, Any] | None) -> Iterator[str]:
    if not score:
        return
    yield f"Score {_number(score['overall'])} (confidence {score['confidence']:.0%})"
    for name, area in score["areas"].items():
        yield f"  {name:<11} {_number(area['score'])}"
        for lost in area["deductions"][:3]:
            what = lost["reason"] or f"{lost['value']:.4g} {lost['unit']}".strip()
            yield f"    -{lost['points']:<5g} {lost['label']}: {what}. {lost['hint']}"


def _number(value: float | None) -> str:
    return "insufficient data" if value is None else f"{value:.0f}"


# --- advise -----------------------------------------------------------------------------------------------


FORMATS: dict[str, Callable[[Advice], str]] = {
    "text": render.as_text,
    "json": render.as_json,
    "sql": render.as_sql,
    "migration": render.as_migration,
}


def _advise_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--database", default=None, metavar="ALIAS", help="the alias to look at")
    parser.add_argument(
        "--workload",
        metavar="FILE",
        help="SQL to advise on in place of what the server counted (- reads standard input)",
    )
    parser.add_argument(
        "--storage-budget-mb", type=_above_zero(float), metavar="N", help="megabytes for new indexes"
    )
    parser.add_argument(
        "--max-width", type=_above_zero(int), metavar="K", help="columns of an index at the most"
    )
    parser.add_argument(
        "--time-limit",
        type=_above_zero(float),
        metavar="S",
        help="seconds; the best set so far is printed",
    )
    parser.add_argument("--format", choices=sorted(FORMATS), default="text")
    parser.add_argument(
        "--trial",
        action="store_true",
        help="build each, run its table's statements again, keep or drop it (changes the database; kinds whose "
        "policy is off are left out)",
    )
    parser.add_argument(
        "--fail-on-recommendations",
        action="store_true",
        help="exit with 1 if there is something to do (for CI)",
    )


#: Statements of a table that a trial runs again, besides those that the index is for.
TRIED = 200


def _above_zero(kind: Callable[[str], float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ArgumentTypeError(f"{text} is not more than 0")
        return value

    read.__name__ = "number" if kind is float else "whole number"
    return read


def _postgresql(alias: str) -> str:
    """The alias, if it is one of a PostgreSQL database.

    Raises:
        ConfigurationError: it is not.
    """
    if alias not in connections:
        raise ConfigurationError(f"there is no database {alias!r}: DATABASES has {', '.join(connections)}.")
    if not is_postgresql(alias):
        raise ConfigurationError(
            f"{alias!r} is {connections[alias].display_name}: indexes are advised for PostgreSQL only."
        )
    return alias


def _workload(source: str | None) -> tuple[Statement, ...] | None:
    """The statements of a file, or of standard input.

    Raises:
        ConfigurationError: it cannot be read, or has no statement in it.
    """
    if source is None:
        return None
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the workload cannot be read: {error}") from error
    found = script.statements(text)
    if not found:
        raise ConfigurationError(f"the workload {source} has no statement in it.")
    return found


def _advise(command: Command, options: dict[str, Any]) -> int:
    settings = get_settings()
    advice = advise(
        settings,
        now=timezone.now(),
        alias=_postgresql(options["database"] or settings.DATABASE),
        statements=_workload(options["workload"]),
        watched=TRIED if options["trial"] else WATCHED,
        storage_budget_mb=options["storage_budget_mb"],
        max_width=options["max_width"],
        time_limit=options["time_limit"],
    )
    if options["trial"]:
        return _try(command, advice)
    if text := FORMATS[options["format"]](advice):
        command.stdout.write(text)
    return PHASE_FAILED if advice.proposals and options["fail_on_recommendations"] else DONE


def _try(command: Command, advice: Advice) -> int:
    """Build, run the table's statements again, keep or drop: one index at a time, through the ledger."""
    proposals = [replace(p, payload={**p.payload, "trial": True}) for p in advice.proposals]
    ids = ledger.propose(proposals, now=timezone.now(), settings=get_settings())
    with index_changes.trial():
        for rec in Recommendation.objects.filter(pk__in=ids).order_by("pk"):
            try:
                ledger.apply(rec, None)
            except (ActionFailed, ActionRefused, InvalidTransition) as error:
                command.stderr.write(str(error))
            rec.refresh_from_db()
            command.stdout.write(f"#{rec.pk} {rec.state}: {rec.title}\n  {rec.outcome}")
    return DONE


# --- looking ----------------------------------------------------------------------------------------------


def _json_argument(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _status(command: Command, options: dict[str, Any]) -> int:
    found = site_health.status()
    if options["json"]:
        command.tell(found)
        return DONE
    run = found["running"] or found["last_run"]
    command.stdout.write(
        f"Run: #{run['id']} {run['kind']} {run['status']}, {run['step']}" if run else "No run yet."
    )
    command.stdout.write("\n".join(_score(found["score"])) or "No score yet: perf run")
    waiting = {state: n for state, n in found["recommendations"].items() if n}
    command.stdout.write(f"Recommendations: {waiting or 'none'}; open alerts: {found['open_alerts']}")
    for row in Recommendation.objects.filter(state__in=Recommendation.OPEN)[:20]:
        command.stdout.write(f"  #{row.pk} {row.state} [{row.area}] {row.title}")
    return DONE


def _health(command: Command, options: dict[str, Any]) -> int:
    found = site_health.health()
    if options["json"]:
        command.tell(found.to_json())
    else:
        command.stdout.write("\n".join([found.status, *(f"  {reason}" for reason in found.reasons)]))
    return PHASE_FAILED if found.status == "down" else DONE


#: format → the report's text; HTML is one file that needs nothing else.
REPORTS: dict[str, Callable[[str], str]] = {
    "text": lambda window: reports.text(_facts(window)),
    "md": lambda window: reports.text(_facts(window)),
    "json": lambda window: json.dumps(_facts(window), indent=2) + "\n",
    "html": lambda window: render_to_string("paiid_perf/report.html", {"window": window}),
}


def _facts(window: str) -> dict[str, Any]:
    return reports.report(timezone.now(), reports.span_of(window) or reports.LONGEST)


def _window(text: str) -> str:
    if reports.span_of(text) is None:
        raise ArgumentTypeError(f"{text!r} is no window: write 90m, 6h, 14d or 2w")
    return text


def _report_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--window", type=_window, metavar="SPAN", default="24h", help="such as 90m, 6h, 14d, 2w"
    )
    parser.add_argument("--format", choices=tuple(REPORTS), default="md")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there instead of printing it")


def _report(command: Command, options: dict[str, Any]) -> int:
    text = REPORTS[options["format"]](options["window"])
    if options["out"] is None:
        command.stdout.write(text, ending="")
        return DONE
    try:
        options["out"].write_text(text)
    except OSError as error:
        raise CommandError(f"{options['out']}: {error.strerror}.", returncode=USAGE) from error
    command.stderr.write(f"Written to {options['out']}.")
    return DONE


# --- the ledger -------------------------------------------------------------------------------------------


def _id_argument(parser: ArgumentParser) -> None:
    parser.add_argument("id", type=int, help="number of the recommendation (perf status lists them)")


def _dismiss_arguments(parser: ArgumentParser) -> None:
    _id_argument(parser)
    parser.add_argument("--reason", default="", help="kept on the row")


def _on_row(work: Callable[..., Recommendation]) -> Callable[[Command, dict[str, Any]], int]:
    def act(command: Command, options: dict[str, Any]) -> int:
        rec = Recommendation.objects.filter(pk=options["id"]).first()
        if rec is None:
            raise CommandError(
                f"there is no recommendation #{options['id']}; perf status lists them.", returncode=USAGE
            )
        more = {"reason": options["reason"]} if "reason" in options else {}
        moved = work(rec, None, **more)
        command.stdout.write(f"#{moved.pk} {moved.state}: {moved.title}\n{moved.outcome}".rstrip())
        return DONE

    return act


def _settle(command: Command, options: dict[str, Any]) -> int:
    counts = {name: n for name, n in ledger.settle_due().items() if n}
    command.stdout.write(f"Judged: {counts}" if counts else "Nothing was due.")
    return DONE


# --- blocked addresses --------------------------------------------------------------------------------------


def _network_argument(parser: ArgumentParser) -> None:
    parser.add_argument("network", help="203.0.113.7, 203.0.113.0/24, 2001:db8::/32")


def _mark_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("label", help="what changed")
    parser.add_argument("--deployment", action="store_true", help="it is a deployment")


def _mark(command: Command, options: dict[str, Any]) -> int:
    kind = Mark.Kind.DEPLOYMENT if options["deployment"] else Mark.Kind.NOTE
    marks.note(options["label"], kind)
    command.stdout.write("Marked.")
    return DONE


def _ban_arguments(parser: ArgumentParser) -> None:
    _network_argument(parser)
    parser.add_argument("--minutes", type=int, metavar="N", help="for how long (default: until unban)")
    parser.add_argument("--reason", default="", help="kept on the row")


def _ban(command: Command, options: dict[str, Any]) -> int:
    minutes = options["minutes"]
    row = blocks.ban(options["network"], timedelta(minutes=minutes) if minutes else None, options["reason"])
    until = f"until {timezone.localtime(row.expires_at):%Y-%m-%d %H:%M}" if row.expires_at else "until unban"
    command.stdout.write(f"{row.network} gets 403 {until}.")
    return DONE


def _unban(command: Command, options: dict[str, Any]) -> int:
    removed = blocks.unban(options["network"])
    told = "is not blocked any more" if removed else "was not blocked"
    command.stdout.write(f"{options['network']} {told}.")
    return DONE


def _events(command: Command, options: dict[str, Any]) -> int:
    state = chain.verify()
    if options["json"]:
        command.tell(asdict(state))
    elif state.broken_at is None:
        command.stdout.write(f"{state.checked} security events are as they were written.")
    else:
        told = {
            "changed": "was changed",
            "missing": "is missing",
            "seal": "does not fit: the chain's own row was changed, or SECRET_KEY without SECRET_KEY_FALLBACKS",
            "no_chain": "has no chain: its row was removed",
        }
        command.stdout.write(
            f"event number {state.broken_at} {told[state.why]} ({state.checked} before it are whole)."
        )
    return DONE if state.broken_at is None else PHASE_FAILED


def _nothing(parser: ArgumentParser) -> None:
    """No arguments."""


Work = Callable[[Command, dict[str, Any]], int]
ACTIONS: dict[str, tuple[str, Callable[[ArgumentParser], None], Work]] = {
    "run": ("Run the phases: look, recommend, change what policy allows, prove it.", _run_arguments, _run),
    "advise": ("Print the indexes that pay (reads only, but for --trial).", _advise_arguments, _advise),
    "status": ("Say what runs, the last score, and what waits for a person.", _json_argument, _status),
    "health": ("Say ok, degraded or down, and why (exit status 1 when down).", _json_argument, _health),
    "report": ("Print everything on one page.", _report_arguments, _report),
    "approve": ("Let the next run apply a recommendation.", _id_argument, _on_row(ledger.approve)),
    "apply": ("Apply a recommendation now, and judge it.", _id_argument, _on_row(ledger.apply)),
    "revert": ("Take a change back.", _id_argument, _on_row(ledger.revert)),
    "dismiss": ("Close a recommendation for good.", _dismiss_arguments, _on_row(ledger.dismiss)),
    "reopen": ("Undo a dismissal.", _id_argument, _on_row(ledger.reopen)),
    "ban": ("Answer a network with 403.", _ban_arguments, _ban),
    "unban": ("Let a blocked network in again.", _network_argument, _unban),
    "events": ("Check that no security event was changed or removed.", _json_argument, _events),
    "mark": ("Draw a mark on every chart, now: a deployment, a campaign.", _mark_arguments, _mark),
    "settle": ("Judge the changes whose window is over.", _nothing, _settle),
}
