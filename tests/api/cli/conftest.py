"""The command in this process, with the settings of each test alone."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api.cli import app
from api.cli.environment import forget_settings
from domain import credentials
from domain.settings import settings
from tests.api.cli.processes import open_directory
from tests.api.cli.refusals import Sluice
from tests.databases import url_of


@pytest.fixture
def sluice() -> Iterator[Sluice]:
    """Runs the command with these settings and no others."""
    before = dict(os.environ)

    def run(*arguments: str | Path, **values: str) -> Result:
        forget_settings()
        settings.cache_clear()
        credentials.key_ring.cache_clear()
        given = {f"SLUICE_{name.upper()}": value for name, value in values.items()}
        return CliRunner(env=given).invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)

    yield run
    os.environ.clear()
    os.environ.update(before)
    settings.cache_clear()
    credentials.key_ring.cache_clear()


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where we are: a directory that everybody can enter."""
    with open_directory() as directory:
        monkeypatch.chdir(directory)
        yield directory


@pytest.fixture
def redis_url() -> str:
    return os.environ["SLUICE_TEST_REDIS_URL"]


@pytest.fixture
def unmigrated() -> str:
    """The URL of a database that no migration has touched."""
    return url_of("postgres")
