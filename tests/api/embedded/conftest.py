"""Where the tests of the embedded servers keep their data, and a stack to look at."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.embedded import Stack, embedded_stack, placement


@pytest.fixture
def room() -> Iterator[Path]:
    """A directory that everybody can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="sluice-test-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory).resolve()


@pytest.fixture(autouse=True)
def shelter(room: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where root keeps what the servers' user could not reach; not the real place."""
    monkeypatch.setattr(placement, "SHELTER", room / "shelter")
    return room / "shelter"


@pytest.fixture
def data(room: Path) -> Path:
    return room / "data"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """One stack for the tests that only look at it."""
    with tempfile.TemporaryDirectory(prefix="sluice-test-") as directory:
        Path(directory).chmod(0o711)
        with embedded_stack(Path(directory) / "data", durable=False) as stack:
            yield stack
