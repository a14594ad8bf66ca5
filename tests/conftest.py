"""One PostgreSQL and one Redis for the whole session; no network beyond this machine."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from api.embedded import EmbeddedError, temporary_stack
from domain.credentials import new_key
from domain.database import close_database, open_database
from domain.settings import settings
from tests import databases
from tests.configuration import Configure

# Nobody's own configuration reaches the tests, but where the servers are.
for name in [name for name in os.environ if name.startswith("SLUICE_") and not name.startswith("SLUICE_TEST_")]:
    del os.environ[name]
os.environ["SLUICE_SECRET_KEYS"] = new_key()

DATABASE_URL = "SLUICE_TEST_DATABASE_URL"
REDIS_URL = "SLUICE_TEST_REDIS_URL"


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the servers that the environment does not name, before the workers are started, which inherit it.

    The template that every test's database is a copy of is migrated once.
    """
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    servers = ExitStack()
    session.config.add_cleanup(servers.close)
    given = {"database_url": os.environ.get(DATABASE_URL), "redis_url": os.environ.get(REDIS_URL)}
    if not all(given.values()):
        try:
            stack = servers.enter_context(temporary_stack(**given))
        except EmbeddedError as error:
            pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
        os.environ[DATABASE_URL] = stack.database_url
        os.environ[REDIS_URL] = stack.redis_url
    asyncio.run(databases.make_template())


@pytest.fixture
async def database_url() -> AsyncIterator[str]:
    """A migrated, empty database of the test's own."""
    async with databases.fresh_database() as url:
        yield url


@pytest.fixture
async def database() -> AsyncIterator[None]:
    """The models, connected to an empty database that no other test uses meanwhile. Its schema is not to be changed."""
    await open_database(await databases.emptied_database())
    yield
    await close_database()


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Set settings by name for this test: `configure(cap=3)`."""

    def set_settings(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"SLUICE_{name.upper()}", str(value))
        settings.cache_clear()

    yield set_settings
    monkeypatch.undo()
    settings.cache_clear()


STARTS_PROCESSES = ("tests/jobs/test_crashes.py", "tests/api/cli/", "tests/api/embedded/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that start processes wait more than they work: first, so that the others fill the gaps."""
    items.sort(key=lambda item: not item.nodeid.startswith(STARTS_PROCESSES))


class NetworkBlockedError(RuntimeError):
    """A test wanted to leave this machine. Not an OSError, so that no code takes it for a failing service."""


def _is_local(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    if not isinstance(host, str):
        return host is None
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in {"", "localhost"}


def _is_address(host: object) -> bool:
    try:
        ip_address(host if isinstance(host, str) else "")
    except ValueError:
        return False
    return True


def _block_network(event: str, args: tuple[object, ...]) -> None:
    """Refuse what would send a packet elsewhere: connections, datagrams and the names to look up for them."""
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        address = args[1]
        allowed = not isinstance(address, tuple) or _is_local(address[0])
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        address = args[0]
        allowed = _is_local(address) or _is_address(address)
    else:
        return
    if not allowed:
        raise NetworkBlockedError(f"{event}: {address!r} is not on this machine")


# An audit hook sees every way there is from Python, `connect_ex` and name look-ups included, in every thread.
sys.addaudithook(_block_network)
