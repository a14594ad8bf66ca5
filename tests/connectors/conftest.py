"""A real CardDAV server, and a user of its own for each test."""

import socket
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import httpx
import pytest

from api.sample_service import CardDavServer, radicale
from connectors.http_client import open_client
from tests.connectors.carddav_servers import PASSWORD, Login


@pytest.fixture(scope="session")
def carddav_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CardDavServer]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with radicale(tmp_path_factory.mktemp("radicale"), port) as server:
        yield server


@pytest.fixture
async def http_client() -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(allow_private_hosts=True) as client:
        yield client


@pytest.fixture
def login(carddav_server: CardDavServer, http_client: httpx.AsyncClient) -> Login:
    username = f"user-{uuid4().hex[:8]}"
    carddav_server.add_user(username, PASSWORD)
    return Login(server=carddav_server, client=http_client, username=username)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connectors that cut by themselves what a service gives at once make pages of three."""
    for limit in (
        "carddav.connector.CARDS_PER_PAGE",
        "csv_records.MAX_PAGE_RECORDS",
        "trello.connector.MAX_PAGE_RECORDS",
    ):
        monkeypatch.setattr(f"connectors.{limit}", 3)
