"""What is shown of an import under way: a picture on a terminal, else a line whenever a run changes its state."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from api.cli.demo_client import Counts, Run, Status
from api.cli.failures import say


@dataclass(slots=True, kw_only=True)
class Story:
    """The import so far: its runs as last told, and where it stands."""

    cards: int
    status: Status
    runs: dict[str, Run] = field(default_factory=dict)

    @property
    def run(self) -> Run | None:
        """The run under way, else the last."""
        return next(reversed(self.runs.values()), None)

    def total(self, count: str) -> int:
        """One of the counts, over all runs."""
        return sum(getattr(run.counts, count) for run in self.runs.values())


@contextmanager
def shown() -> Iterator[Callable[[Story], None]]:
    """A function that shows the story as it is now."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _changed_lines()
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda story: live.update(_picture(story), refresh=True)


def _changed_lines() -> Callable[[Story], None]:
    told: list[str] = [""]

    def show(story: Story) -> None:
        run = story.run
        phase = _phase(story) if run is None or run.state != "RUNNING" else run.id
        if phase != told[0]:
            told[0] = phase
            say(f"{_phase(story)}. {_counts(story)}. {_cap(story)}.")

    return show


def _picture(story: Story) -> RenderableType:
    rows = Table.grid(padding=(0, 2))
    rows.add_row("import", Text(_phase(story), style="bold"))
    backlog = story.status.backlog
    remaining = (story.cards if backlog.remaining is None else backlog.remaining) if backlog else 0
    rows.add_row("records", ProgressBar(total=story.cards, completed=story.cards - remaining, width=40))
    rows.add_row("counts", _counts(story))
    rows.add_row("cap", _cap(story))
    rows.add_row("cycles", str(len(story.runs)))
    return Group(Text(), rows, Text())


def _phase(story: Story) -> str:
    run = story.run
    if run is None:
        return "QUEUED"
    if run.error is not None:
        return f"{run.state}: {run.error.message}"
    if run.stopped_by is not None:
        return f"{run.state}, stopped by {run.stopped_by}"
    return run.state


def _counts(story: Story) -> str:
    return ", ".join(f"{story.total(count)} {count}" for count in Counts.model_fields)


def _cap(story: Story) -> str:
    cap = story.status.external_account.cap
    text = f"{cap.used} of {cap.limit} used"
    if cap.window_ends_at is not None:
        seconds = max(0, round((cap.window_ends_at - datetime.now(UTC)).total_seconds()))
        text += f", next window in {seconds} s"
    return text
