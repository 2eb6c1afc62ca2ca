"""``manage.py perf``: what it prints, what it exits with, and that a pipe stays clean."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from paiid_perf.contracts import Check, Phase, PhaseResult
from paiid_perf.management.commands.perf import ACTIONS, EPILOG, Command
from paiid_perf.models import BlockedAddress, OptimizationRun, Recommendation
from paiid_perf.optimization import runner
from paiid_perf.registry import registry

pytestmark = pytest.mark.django_db


def perf(*arguments):
    """(exit status, stdout, stderr)"""
    out, err = StringIO(), StringIO()
    try:
        call_command("perf", *arguments, stdout=out, stderr=err)
    except SystemExit as end:
        return end.code, out.getvalue(), err.getvalue()
    except CommandError as error:
        return error.returncode, out.getvalue(), f"{err.getvalue()}{error}"
    return 0, out.getvalue(), err.getvalue()


@pytest.fixture
def phases(monkeypatch):
    """Make these the only phases."""

    def declare(*runs):
        others = {key: item for key, item in registry._items.items() if key[0] is not Phase}
        chosen = {
            (Phase, f"p{order}"): Phase(f"p{order}", f"Phase {order}", order, run)
            for order, run in enumerate(runs)
        }
        monkeypatch.setattr(registry, "_items", others | chosen)

    return declare


def fine(context):
    check = Check("database", "hit", "Hit rate", 0.5, target=1.0, worst=0.0, weight=1, hint="More memory.")
    return PhaseResult("succeeded", "looked", checks=(check,))


def broken(context):
    raise RuntimeError("no such table")


# --- run --------------------------------------------------------------------------------------------------------


def test_a_run_tells_its_phases_and_its_score(phases):
    phases(fine)

    code, out, err = perf("run")

    run = OptimizationRun.objects.get()
    assert (code, err) == (0, "")
    assert f"Run #{run.pk} succeeded" in out
    assert "looked" in out
    assert "Hit rate" in out
    assert "More memory." in out
    assert run.trigger == "command"


@pytest.mark.parametrize(("runs", "code"), [((fine,), 0), ((fine, broken), 1), ((broken,), 1)])
def test_the_exit_status_says_whether_a_phase_failed(runs, code, phases):
    phases(*runs)

    assert perf("run", "--quick")[0] == code


def test_json_is_one_object_and_nothing_else(phases):
    phases(fine)

    code, out, err = perf("run", "--full", "--dry-run", "--json")

    found = json.loads(out)
    assert (code, err) == (0, "")
    assert (found["kind"], found["dry_run"], found["status"]) == ("full", True, "succeeded")
    assert found["score"]["areas"]["database"]["score"] == 52


@pytest.mark.parametrize(("flags", "kind"), [((), "full"), (("--full",), "full"), (("--quick",), "quick")])
def test_a_full_run_is_the_default(flags, kind, phases):
    phases(fine)

    perf("run", *flags)

    assert OptimizationRun.objects.get().kind == kind


@pytest.mark.parametrize("flag", [(), ("--apply",)])
def test_apply_raises_the_policies_for_this_run(flag, phases, monkeypatch):
    phases(fine)
    seen = []
    execute = runner.execute
    monkeypatch.setattr(
        runner, "execute", lambda pk, apply, report: seen.append(apply) or execute(pk, report=report)
    )

    perf("run", *flag)

    assert seen == [bool(flag)]


def test_another_run_at_work_is_3_with_its_number_and_since_when(phases):
    phases(fine)
    other = runner.request("full", "test")

    code, out, err = perf("run")

    assert (code, out) == (3, "")
    assert f"already running: #{other.pk}, since {timezone.localtime(other.created_at):%Y-%m-%d %H:%M}" in err


def test_progress_is_a_bar_on_a_terminal_and_nothing_in_a_pipe(phases, monkeypatch):
    phases(fine)

    class Terminal(StringIO):
        def isatty(self):
            return True

    pipe, terminal = StringIO(), Terminal()
    monkeypatch.setattr("sys.stderr", pipe)
    perf("run")
    monkeypatch.setattr("sys.stderr", terminal)
    perf("run")

    assert pipe.getvalue() == ""
    assert "100%" in terminal.getvalue()


# --- usage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("dance",),
        ("run", "--full", "--quick"),
        ("run", "--apply", "--dry-run"),
        ("apply",),
        ("apply", "x"),
        ("report", "--format", "pdf"),
        ("report", "--window", "2y"),
        ("advise", "--format", "xml"),
    ],
)
def test_wrong_usage_is_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        Command().run_from_argv(["manage.py", "perf", *arguments])

    assert ended.value.code == 2


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        Command().run_from_argv(["manage.py", "perf", "--help"])

    told = capsys.readouterr().out
    assert all(name in told for name in ACTIONS)
    assert "examples:" in told
    assert "exit status: 0 done, 1 a phase failed, 2 usage, 3 another run is at work" in told


@pytest.mark.parametrize("example", re.findall(r"^  perf (.*?)(?:  .*)?$", EPILOG, re.M))
def test_the_examples_of_the_help_are_right(example):
    Command().create_parser("manage.py", "perf").parse_args(example.split())


def test_a_reader_that_has_seen_enough_is_no_error(phases, monkeypatch):
    phases(fine)
    silenced = []
    monkeypatch.setattr("os.dup2", lambda new, old: silenced.append(old))

    class Closed(StringIO):
        def write(self, text):
            raise BrokenPipeError

    call_command("perf", "status", stdout=Closed())

    assert len(silenced) == 1


# --- looking ----------------------------------------------------------------------------------------------------


def test_status_of_an_empty_site_says_what_to_do():
    code, out, _ = perf("status")

    assert code == 0
    assert "No run yet" in out
    assert "perf run" in out


def test_status_tells_what_waits(rec, a_score, a_run):
    code, out, _ = perf("status")

    assert code == 0
    assert f"#{rec.pk} proposed [database] {rec.title}" in out
    assert "Score 70" in out
    assert json.loads(perf("status", "--json")[1])["recommendations"]["proposed"] == 1


def test_health_is_told_with_its_reasons(an_alert):
    code, out, _ = perf("health")

    assert code == 0
    assert out.splitlines()[0] == "degraded"
    assert "critical" in out
    assert json.loads(perf("health", "--json")[1])["status"] == "degraded"


@pytest.mark.parametrize(
    ("form", "sign"),
    [
        ("text", "# Performance report"),
        ("md", "# Performance report"),
        ("json", '{\n  "at"'),
        ("html", "<!doctype html>"),
    ],
)
def test_reports_are_printed_or_written(form, sign, tmp_path, rec, a_score, a_run, an_alert):
    code, out, _ = perf("report", "--format", form)
    assert code == 0
    assert out.startswith(sign)
    assert rec.title in out

    target = tmp_path / "report"
    code, out, err = perf("report", "--format", form, "--out", str(target))

    assert (code, out) == (0, "")
    assert str(target) in err
    assert target.read_text().startswith(sign)


def test_the_html_report_needs_nothing_else(rec, a_score):
    _, out, _ = perf("report", "--format", "html", "--window", "7d")

    assert not re.findall(r"<(?:script|link|img|iframe)\b", out)
    assert not re.findall(r'(?:src|href|url\()=?"?https?:', out)


def test_a_report_that_cannot_be_written_is_2(tmp_path):
    code, _, err = perf("report", "--out", str(tmp_path / "no" / "such"))

    assert code == 2
    assert "No such file" in err


def test_advice_is_printed_in_every_format():
    for form in ("text", "json", "sql", "migration"):
        assert perf("advise", "--format", form)[0] == 0
    json.loads(perf("advise", "--format", "json")[1])


# --- the ledger, and blocks -------------------------------------------------------------------------------------


def test_a_recommendation_is_moved_by_its_number(rec):
    assert perf("approve", str(rec.pk))[0] == 0
    assert Recommendation.objects.get().state == "approved"

    code, out, _ = perf("dismiss", str(rec.pk), "--reason", "not now")

    rec.refresh_from_db()
    assert (code, rec.state, rec.outcome) == (0, "dismissed", "not now")
    assert f"#{rec.pk} dismissed" in out
    assert perf("reopen", str(rec.pk))[0] == 0


def test_what_its_state_does_not_allow_is_2_with_the_reason(rec):
    code, _, err = perf("revert", str(rec.pk))

    assert code == 2
    assert "proposed" in err


def test_an_unknown_number_is_2():
    code, _, err = perf("apply", "999")

    assert code == 2
    assert "no recommendation #999" in err


def test_settle_says_when_nothing_is_due():
    assert perf("settle")[1] == "Nothing was due.\n"


def test_a_network_is_blocked_for_a_while_and_let_in_again():
    code, out, _ = perf("ban", "203.0.113.0/24", "--minutes", "60", "--reason", "scanner")

    row = BlockedAddress.objects.get()
    assert code == 0
    assert "203.0.113.0/24 gets 403 until" in out
    assert (row.network, row.reason) == ("203.0.113.0/24", "scanner")
    assert timedelta(minutes=58) < row.expires_at - timezone.now() < timedelta(minutes=61)

    assert "not blocked any more" in perf("unban", "203.0.113.0/24")[1]
    assert "was not blocked" in perf("unban", "203.0.113.0/24")[1]


def test_what_is_no_network_is_2():
    code, _, err = perf("ban", "everybody")

    assert code == 2
    assert "203.0.113.0/24" in err
