"""How a command that failed as it should is looked at."""

from collections.abc import Callable
from typing import TypeAlias

from typer.testing import Result

Sluice: TypeAlias = Callable[..., Result]
"""Runs the command: its arguments, and settings by name."""


def refusal(result: Result) -> str:
    """What was said of a command that failed as it should."""
    assert (result.exit_code, result.stdout) == (1, "")
    return result.stderr.removesuffix("\n")
