"""Two accounts, each with a client that speaks GraphQL to the real application."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import pytest
from starlette.applications import Starlette

from api.app import create_app
from domain import account
from tests.factories import make_account
from tests.fakes import DeafWatch, FakeCatalogue, RecordingEvents, RecordingQueue


@dataclass(slots=True)
class Client:
    """An API user with a token."""

    http: httpx.AsyncClient
    account_id: UUID
    token: str
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.headers = {"Authorization": f"Bearer {self.token}"}

    async def ask(self, query: str, **variables: Any) -> Any:
        """The whole answer to an operation."""
        response = await self.http.post("/graphql", json={"query": query, "variables": variables}, headers=self.headers)
        assert response.status_code == 200, response.text
        return response.json()

    async def data(self, query: str, **variables: Any) -> Any:
        """The data of an operation that meets no errors."""
        answer = await self.ask(query, **variables)
        assert "errors" not in answer, answer
        return answer["data"]

    async def error(self, query: str, **variables: Any) -> tuple[str, str]:
        """The code and the message of the one error that an operation meets."""
        [error] = (await self.ask(query, **variables))["errors"]
        return error["extensions"]["code"], error["message"]


@pytest.fixture
def catalogue() -> FakeCatalogue:
    return FakeCatalogue()


@pytest.fixture
def queue() -> RecordingQueue:
    return RecordingQueue()


@pytest.fixture
def events() -> RecordingEvents:
    return RecordingEvents()


@pytest.fixture
def app(database: None, catalogue: FakeCatalogue, queue: RecordingQueue, events: RecordingEvents) -> Starlette:
    return create_app(catalogue=catalogue, queue=queue, events=events, watch=DeafWatch())


@pytest.fixture
async def http(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://sluice.test") as client:
        yield client


@pytest.fixture
async def client(http: httpx.AsyncClient) -> Client:
    """The user whose requests are tested."""
    return await make_client(http)


@pytest.fixture
async def stranger(http: httpx.AsyncClient) -> Client:
    """A user of another account."""
    return await make_client(http)


async def make_client(http: httpx.AsyncClient) -> Client:
    owner = await make_account()
    return Client(http, owner.id, await account.create_token(owner.id))
