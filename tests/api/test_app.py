"""The application around GraphQL: health, browsers, and how it is built."""

import asyncio
import os
from uuid import UUID

import asyncpg
import httpx
import pytest
import structlog
from asgi_lifespan import LifespanManager

from api.app import build, create_app
from domain import account, account_overview
from domain.errors import Misconfigured
from tests.api.conftest import Client
from tests.configuration import Configure
from tests.databases import lose_database
from tests.fakes import DeafWatch, FakeCatalogue, RecordingEvents, RecordingQueue


async def test_a_process_that_lives_says_so_without_a_token(http: httpx.AsyncClient) -> None:
    response = await http.get("/healthz")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_ready_means_that_everything_needed_answers(http: httpx.AsyncClient) -> None:
    response = await http.get("/readyz")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.usefixtures("database")
async def test_not_ready_names_what_is_missing() -> None:
    async def refuses() -> None:
        raise ConnectionError

    async def hangs() -> None:
        await asyncio.Event().wait()

    probes = {"redis": refuses, "mail": hangs}
    app = create_app(
        catalogue=FakeCatalogue(), queue=RecordingQueue(), events=RecordingEvents(), watch=DeafWatch(), probes=probes
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sluice.test") as http:
        response = await http.get("/readyz")

    assert (response.status_code, response.json()) == (503, {"status": "unavailable", "missing": ["redis", "mail"]})


AWAY = "The server cannot reach its database at the moment. Try again in a few seconds."


@pytest.mark.parametrize(
    ("method", "path", "accept"),
    [
        ("POST", "/graphql", "application/json"),
        ("POST", "/graphql", "text/event-stream"),
        ("GET", f"/import-runs/{UUID(int=1)}/outcomes.csv", "*/*"),
    ],
)
async def test_while_the_database_is_away_every_request_is_told_to_come_back(
    client: Client, method: str, path: str, accept: str
) -> None:
    body = {"query": "{ account { name } }"} if method == "POST" else None
    await lose_database()

    response = await client.http.request(method, path, json=body, headers=client.headers | {"Accept": accept})

    assert (response.status_code, response.json()) == (
        503,
        {"errors": [{"message": AWAY, "extensions": {"code": "UNAVAILABLE"}}]},
    )
    assert response.headers["Retry-After"] == "5"


async def test_a_database_that_is_lost_in_mid_request_is_told_as_such_and_logged_in_one_line(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(_: UUID) -> None:
        raise asyncpg.ConnectionDoesNotExistError

    monkeypatch.setattr(account_overview, "usage", lost)
    with structlog.testing.capture_logs() as logs:
        told = await client.error("{ account { contactUsage { limit } } }")

    assert told == ("UNAVAILABLE", AWAY)
    assert logs == [
        {
            "event": "graphql.database_unavailable",
            "log_level": "warning",
            "path": "account.contactUsage",
            "error": "ConnectionDoesNotExistError",
        }
    ]


@pytest.mark.parametrize(("origin", "allowed"), [("https://app.example", True), ("https://evil.example", False)])
@pytest.mark.usefixtures("database")
async def test_pages_of_configured_origins_may_call_the_api(configure: Configure, origin: str, allowed: bool) -> None:
    configure(cors_origins="https://app.example")
    app = create_app(catalogue=FakeCatalogue(), queue=RecordingQueue(), events=RecordingEvents(), watch=DeafWatch())
    preflight = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sluice.test") as http:
        asked = await http.options("/graphql", headers=preflight)
        refused = await http.post("/graphql", headers={"Origin": origin})

    assert (asked.status_code == 200) is allowed
    assert refused.status_code == 401
    assert (refused.headers.get("Access-Control-Allow-Origin") == origin) is allowed


async def test_the_built_application_answers_over_postgresql_and_redis(database_url: str, configure: Configure) -> None:
    configure(database_url=database_url, redis_url=os.environ["SLUICE_TEST_REDIS_URL"])
    app = build()
    async with (
        LifespanManager(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sluice.test") as http,
    ):
        ready = await http.get("/readyz")
        owner = await account.find_or_create_account("Acme")
        token = await account.create_token(owner.id)
        answer = await http.post(
            "/graphql",
            json={"query": "{ account { name } services { key } }"},
            headers={"Authorization": f"Bearer {token}"},
        )

    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})
    assert answer.json()["data"]["account"] == {"name": "Acme"}
    assert "carddav" in [service["key"] for service in answer.json()["data"]["services"]]


async def test_an_application_without_a_database_says_what_to_set(configure: Configure) -> None:
    configure(redis_url="redis://127.0.0.1:1/0")

    with pytest.raises(Misconfigured, match="Set SLUICE_DATABASE_URL and SLUICE_REDIS_URL"):
        build()
