"""The rows of the run history, in plain Python (R17, R18)."""

from domain.enums import RunState, RunStop, RunTrigger
from tests.domain.model.account import Import, Run


def run_with_news(into: Import) -> Run:
    """The open run, unless that counts idle checks only: what is found begins a row of its own."""
    run = into.open_run
    if run is not None and not run.found_something and run.checks > 1:
        run.state, run = RunState.COMPLETED, None
    if run is None:
        run = Run(trigger=RunTrigger.SCHEDULE, state=RunState.RUNNING)
        into.runs.append(run)
    run.found_something = True
    return run


def run_without_news(into: Import) -> Run:
    """The open run; cycles that find nothing extend the last such row."""
    run = into.open_run
    if run is not None:
        return run
    last = into.runs[-1] if into.runs else None
    if last and last.state is RunState.COMPLETED and not last.found_something and last.stopped_by is None:
        last.state, last.checks = RunState.RUNNING, last.checks + 1
        return last
    into.runs.append(Run(trigger=RunTrigger.SCHEDULE, state=RunState.RUNNING))
    return into.runs[-1]


def finish(into: Import, *, stopped_by: RunStop | None = None, error: str | None = None) -> None:
    """The run ends: FAILED with an error, unless something stopped it that the next window may find gone."""
    run = run_without_news(into)
    run.state = RunState.FAILED if error and stopped_by is None else RunState.COMPLETED
    run.stopped_by, run.error = stopped_by, error


def cancel(into: Import) -> None:
    """What is under way ends."""
    if into.open_run is not None:
        into.open_run.state = RunState.CANCELLED
