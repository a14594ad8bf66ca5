"""What the fixture `configure` is."""

from typing import Protocol


class Configure(Protocol):
    """Sets settings by name for one test."""

    def __call__(self, **values: object) -> None:
        """`configure(cap=3)` is SLUICE_CAP=3."""
