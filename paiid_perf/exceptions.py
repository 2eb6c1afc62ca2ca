"""The errors of paiid_perf. Each message says what is wrong and names the fix."""


class PerfError(Exception):
    """Base of every error that paiid_perf raises on purpose."""


class ConfigurationError(PerfError):
    """A setting or a declaration cannot be used as it stands."""


class AlreadyRegistered(ConfigurationError):
    """Two declarations of one type share a name."""


class NotRegistered(PerfError):
    """No declaration of that type has that name."""


class AlreadyRunning(PerfError):
    """Another optimization run holds the lock of this database."""

    def __init__(self, run_id: int, since: str) -> None:
        self.run_id = run_id
        self.since = since
        super().__init__(
            f"already running: #{run_id}, since {since}. Wait for it to end; a run whose process died is "
            "marked interrupted by itself, because its lock ends with its connection."
        )


class InvalidTransition(PerfError):
    """A change was asked to move to a state that its present state does not lead to."""


class ActionRefused(PerfError):
    """Policy, the kill switch or the change window says no; the message says which."""


class ActionFailed(PerfError):
    """An action did not take; the cause is chained and the undo has been run."""
