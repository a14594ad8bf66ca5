"""How a command that stays up is ended."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from api.cli.failures import CannotRun, say

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TookTooLong(CannotRun):
    """Something hangs."""


@contextmanager
def until_stopped(status: int = 0) -> Iterator[None]:
    """Ctrl-C or SIGTERM end the block, and what it holds is stopped in order; a second one changes nothing.

    `status` is what the command then ends with.
    """
    before = {number: signal.signal(number, _stop) for number in SIGNALS}
    try:
        yield
    except KeyboardInterrupt:
        say("Stopped.")
        raise typer.Exit(status) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Whatever hangs in the block, after `seconds` TookTooLong is raised."""

    def give_up(number: int, frame: object) -> NoReturn:
        raise TookTooLong(f"This took longer than {seconds:g} seconds.")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _stop(number: int, frame: object) -> NoReturn:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
