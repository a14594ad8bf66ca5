"""One PostgreSQL and one Redis for the whole session; no network beyond this machine."""

import os
import sys
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from api.embedded import EmbeddedError, temporary_stack

DATABASE_URL = "SLUICE_TEST_DATABASE_URL"
REDIS_URL = "SLUICE_TEST_REDIS_URL"


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the servers that the environment does not name, before the workers are started, which inherit it."""
    is_worker = hasattr(session.config, "workerinput")
    given = os.environ.get(DATABASE_URL), os.environ.get(REDIS_URL)
    if is_worker or session.config.option.collectonly or all(given):
        return
    servers = ExitStack()
    session.config.add_cleanup(servers.close)
    try:
        stack = servers.enter_context(temporary_stack(database_url=given[0], redis_url=given[1]))
    except EmbeddedError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    os.environ[DATABASE_URL] = stack.database_url
    os.environ[REDIS_URL] = stack.redis_url


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
