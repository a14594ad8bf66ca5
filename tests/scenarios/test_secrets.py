"""No secret leaves its place: whatever whole lives of all services emit is searched for each of their secrets."""

import asyncio
import base64
import contextvars
import gc
import json
import logging
import os
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qsl, quote
from uuid import UUID

import httpx
import pytest
import structlog
from arq import ArqRedis

from api.app import create_app
from api.node import key_of
from connectors.base import Page
from connectors.csv_url import CsvUrl
from connectors.registry import SERVICES
from connectors.shopify import reading
from domain import database
from domain.credentials import unseal_json
from domain.logs import QUIET
from domain.models import ExternalAccount
from domain.settings import client_registration
from jobs.catalogue import ConnectorCatalogue
from jobs.cycle import tick
from jobs.events import RedisEvents, RedisWatch
from jobs.queue import ArqQueue
from jobs.worker import make_worker
from tests.api.conftest import make_client
from tests.api.returning import asked
from tests.configuration import Configure
from tests.connectors.simulators import SIMULATORS
from tests.connectors.simulators.asana import AsanaApi
from tests.connectors.simulators.google_contacts import GoogleContacts
from tests.connectors.simulators.kit import CLIENT_ID, CLIENT_SECRET, Exchange, Fault, Simulator
from tests.connectors.simulators.shopify import ShopifyShop
from tests.connectors.simulators.woocommerce import WooShop
from tests.scenarios.services import Services, last_run, register, serving

PLANTED = "person-0@example.com"
RENEWING = ("asana", "google_contacts", "shopify")
DISCONNECT = """mutation ($id: ID!) { disconnectExternalAccount(input: {externalAccountId: $id}) {
    externalAccount { health } warnings userErrors { message } } }"""
HEARD_ALL = "all-was-heard"
WRONG = "wr0ng-s3cret-0f-somebody"
OURS = {"api", "connectors", "domain", "jobs"}
TOKENS = ("access_token", "refresh_token", "consumer_secret", "token", "code")
DUE = "SELECT FROM external_account WHERE lease_token IS NOT NULL OR next_cycle_at <= now() LIMIT 1"
OUTSIDE = contextvars.ContextVar("OUTSIDE", default=False)
"""Whether it is the test that acts: the user's browser, a page."""

LOOK = """{
  externalAccounts(first: 10) { edges { node {
    id label health healthReason createdAt cap { limit used } service { key name notice credentialsSchema }
    automaticImports { id name criteria state stateReason lastRun { id state error { code message } counts { read } } }
  } } }
  automaticImports(first: 10) { edges { node {
    name criteria state stateReason
    records(first: 10) { edges { node { externalId state code email contact { email firstName } } } }
    runs(first: 20) { edges { node { state stoppedBy trigger error { code message } review { kind }
      outcomes(first: 10) { edges { node { externalId outcome code notes changes { before after } } } } } } }
  } } }
  importRuns(first: 50) { edges { node { state error { code message } } } }
  contacts(first: 100) { edges { node { email firstName phone fieldValues { personalizationTag value } } } }
  account { name auditEntries(first: 100) { edges { node { action actor subject details } } } }
  services { key name authorizations credentialsSchema authorizationSchema criteriaSchema }
}"""


class Everything(logging.Handler):
    """Keeps every line that our processes log, whatever its level."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """A line as it would be written, with its traceback and the values it was made of."""
        if not OUTSIDE.get():
            self.lines.append(f"{record.name} {self.format(record)} {record.args!r}")


@dataclass(kw_only=True)
class Lives:
    """The services' whole lives, and all they emit, by the way that it goes."""

    services: Services
    redis: ArqRedis
    inside: contextvars.Context
    haystacks: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    secrets: set[str] = field(default_factory=set)

    async def act(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Let our own processes do it."""
        return await asyncio.create_task(work, context=self.inside)

    async def work(self) -> None:
        """The worker does all that is due."""
        while await database.fetch(DUE):
            await self.act(tick({"redis": self.redis}))
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker runs."""
        working = asyncio.create_task(make_worker(self.redis).async_run(), context=self.inside)
        try:
            yield
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def half_hour(self) -> None:
        await self.services.next_window()
        await self.work()

    async def look(self) -> None:
        """What a page would ask, and what is stored."""
        answer = await self.services.client.http.post(
            "/graphql", json={"query": LOOK}, headers=self.services.client.headers
        )
        assert "errors" not in answer.json(), answer.text
        tables = await database.fetch(
            "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'"
        )
        for table in tables:
            rows = await database.fetch(f'SELECT t::text AS text FROM "{table["name"]}" t')
            self.haystacks["postgresql"] += [row["text"] for row in rows]
        queries = await database.fetch("SELECT query FROM pg_stat_activity")
        self.haystacks["postgresql"] += [row["query"] or "" for row in queries]
        async for key in self.redis.scan_iter():
            self.haystacks["redis"].append(repr((key, await self._value(key))))

    async def _value(self, key: bytes) -> object:
        match await self.redis.type(key):
            case b"zset":
                return await self.redis.zrange(key, 0, -1)
            case b"hash":
                return await cast("Awaitable[object]", self.redis.hgetall(key.decode()))
            case b"string":
                return await self.redis.get(key)
        return None

    def take_reprs(self, simulator: Simulator, times: int) -> None:
        """While the simulator answers the next so many requests, see what there is of ours."""
        left = iter(range(times))

        def meanwhile() -> None:
            if next(left, None) is not None:
                self.haystacks["reprs"] += reprs()

        simulator.traffic.meanwhile = meanwhile

    def note(self, simulators: Mapping[str, Simulator]) -> None:
        """Remember every secret that went to and fro between the vendors, the user and us."""
        for simulator in simulators.values():
            self.secrets |= {*simulator.secrets}
            for exchange in simulator.traffic.exchanges:
                self.secrets |= {*secrets_in(exchange)}
        # It stands in the address of every page where users agree.
        self.secrets.discard(CLIENT_ID)

    async def let_run(self, simulators: Mapping[str, Simulator], configure: Configure) -> None:
        """Let the vendors' servers run; from here on the test is a user."""
        for simulator in simulators.values():
            await self.services.run(simulator)
        origins = ",".join(f"{origin}={there}" for origin, there in self.services.origins.items())
        configure(service_origins=origins, allow_private_hosts="true")
        OUTSIDE.set(True)


def secrets_in(exchange: Exchange) -> Iterable[str]:
    """Codes, states, verifiers and tokens of a consent, a renewal or a revocation."""
    where = httpx.URL(exchange.answer_headers.get("location", ""))
    asked = [*exchange.url.params.multi_items(), *where.params.multi_items(), *parse_qsl(where.fragment)]
    if b"grant_type" in exchange.body:
        asked += parse_qsl(exchange.body.decode())
        if exchange.answer.startswith(b"{"):
            asked += [(name, str(value)) for name, value in json.loads(exchange.answer).items()]
    return [value for name, value in asked if name in {*TOKENS, "state", "code_verifier", "hmac"}]


def spellings(secret: str) -> set[str]:
    """How a secret could stand somewhere."""
    raw = secret.encode()
    return {
        secret,
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        raw.hex(),
        base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
        repr(raw)[2:-1],
    }


def found(needles: Mapping[str, Iterable[str]], haystacks: Mapping[str, list[str]]) -> list[tuple[str, str, str]]:
    """Which needle lies in which haystack, and in what."""
    return [
        (name, needle, straw)
        for name, straws in haystacks.items()
        for straw in straws
        for needle, ways in needles.items()
        if any(way in straw for way in ways)
    ]


def reprs() -> set[str]:
    """Everything of ours that lives now, as a debugger or a traceback would show it."""
    living = [each for each in gc.get_objects() if str(type(each).__module__).partition(".")[0] in OURS]
    return {shown(each) for each in living}


def shown(living: object) -> str:
    """Its `repr`; some that are about to be made have none yet."""
    try:
        return repr(living)
    except AttributeError:
        return ""


@pytest.fixture
def logs() -> Iterator[Everything]:
    """What a process logs whose operator asks for everything, but for what `configure_logging` must keep quiet.

    httpx writes whole addresses: by its address a token of Trello's is given back, and storage signs its addresses.
    """
    assert "httpx" in QUIET
    everything, structured = Everything(), structlog.get_config()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    levels = {name: logging.getLogger(name).level for name in ("", *QUIET)}
    for name in levels:
        logging.getLogger(name).setLevel(logging.WARNING if name == "httpx" else logging.DEBUG)
    logging.getLogger().addHandler(everything)
    yield everything
    logging.getLogger().removeHandler(everything)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    structlog.configure(**structured)


@pytest.fixture
async def lives(database: None, configure: Configure, redis: ArqRedis, logs: Everything) -> AsyncIterator[Lives]:
    register(configure)
    inside, origins = contextvars.copy_context(), dict[str, str]()
    async with AsyncExitStack() as running:
        catalogue = ConnectorCatalogue(registered=SERVICES, allow_private_hosts=True, origins=origins)
        queue = ArqQueue(redis)
        app = create_app(catalogue=catalogue, queue=queue, events=RedisEvents(redis), watch=RedisWatch(redis))
        address = await running.enter_async_context(serving(app, access_log=True))
        answers: list[str] = []

        async def keep(response: httpx.Response) -> None:
            await response.aread()
            # Where a user is sent has to be told, with the state; what they bring back their browser gives us again.
            if b"authorizationUrl" not in response.request.content and asked(response) is None:
                answers.append(response.text)

        http = await running.enter_async_context(
            httpx.AsyncClient(base_url=f"http://{address}", timeout=30, event_hooks={"response": [keep]})
        )
        services = Services(client=await make_client(http), origins=origins, queue=queue, running=running)
        lives = Lives(services=services, redis=redis, inside=inside)
        # Links to files are secrets, too.
        lives.secrets |= {CLIENT_SECRET, WRONG, services.client.token, "/contacts.csv"}
        lives.secrets |= {entry.partition(":")[2] for entry in os.environ["SLUICE_SECRET_KEYS"].split(",")}
        lives.haystacks["logs"], lives.haystacks["answers"] = logs.lines, answers
        yield lives
    client_registration.cache_clear()


@asynccontextmanager
async def monitored(redis: ArqRedis, heard: list[str]) -> AsyncIterator[None]:
    """Hear every command that Redis is given, published messages among them."""
    async with redis.monitor() as monitor:

        async def listen() -> None:
            async for command in monitor.listen():
                heard.append(command["command"])  # noqa: PERF401  it never ends

        listening = asyncio.create_task(listen())
        try:
            yield
            await redis.set(HEARD_ALL, "")
            while not any(HEARD_ALL in command for command in heard):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


def let_access_end(simulators: Mapping[str, Simulator]) -> None:
    """An hour goes by: access tokens end, refresh tokens do not."""
    google, shop, asana = simulators["google_contacts"], simulators["shopify"], simulators["asana"]
    assert isinstance(google, GoogleContacts)
    assert isinstance(shop, ShopifyShop)
    assert isinstance(asana, AsanaApi)
    google.oauth.access_tokens.clear()
    shop.oauth.expire_access()
    asana.oauth.tokens.clear()


def echo(simulator: Simulator, status: int) -> Fault:
    """A vendor's debug page: it shows all of the last request, and what it read from it."""
    last = simulator.traffic.exchanges[-1]
    scheme, _, login = last.headers.get("authorization", "").partition(" ")
    read = base64.b64decode(login) if scheme == "Basic" else b""
    body = b" ".join([f"{login} {last.headers} {last.url}".encode(), last.body, read])
    return Fault(status=status, body=b"<pre>" + body, headers={"Content-Type": "text/html"})


def was_renewed(simulator: Simulator) -> bool:
    """Whether the vendor gave new tokens for a refresh token."""
    return any(b"grant_type=refresh_token" in each.body and each.status == 200 for each in simulator.traffic.exchanges)


def with_wrong_secrets(simulator: Simulator) -> dict[str, Any]:
    """What somebody types who has another key."""
    hidden = {name for name, value in simulator.credentials.items() if value in simulator.secrets}
    return {**simulator.credentials, **dict.fromkeys(hidden, WRONG)}


async def broken(reader: CsvUrl, _: object) -> AsyncIterator[Page]:
    """A bug that has a secret in its message."""
    raise RuntimeError(reader.credentials.password.get_secret_value())
    yield


async def connect_all(lives: Lives, simulators: Mapping[str, Simulator]) -> tuple[dict[str, str], dict[str, UUID]]:
    """Each service is connected after a failed attempt, and imported. The external accounts' ids, and the imports'."""
    accounts, imports = {}, {}
    for key, simulator in simulators.items():
        if SERVICES[key].form is not None:
            refused = await lives.services.enter(simulator, credentials=with_wrong_secrets(simulator))
            assert [error["code"] for error in refused["userErrors"]] == ["CREDENTIALS_REJECTED"]
        lives.take_reprs(simulator, 3)
        accounts[key] = await lives.services.connect(simulator)
        imports[key] = await lives.services.create(accounts[key], simulator)
        lives.take_reprs(simulator, 2)
    await lives.work()
    await lives.look()
    return accounts, imports


async def renew(lives: Lives, simulators: Mapping[str, Simulator]) -> None:
    """Every access token ends, and is renewed."""
    lives.note(simulators)
    let_access_end(simulators)
    for key in RENEWING:
        lives.take_reprs(simulators[key], 2)
    # Bulk operations take more than one.
    for _ in range(2):
        await lives.half_hour()


async def break_everything(
    lives: Lives, simulators: Mapping[str, Simulator], accounts: Mapping[str, str], imports: Mapping[str, UUID]
) -> None:
    """Vendors answer with debug pages, of every kind of status; whoever has to be reconnected is."""
    for status in (400, 401, 403, 500):
        lives.note(simulators)
        for simulator in simulators.values():
            simulator.traffic.faults = deque([echo(simulator, status)] * 3)
        await lives.half_hour()
        await lives.look()
        for key, simulator in simulators.items():
            simulator.traffic.faults.clear()
            if (await lives.services.health(imports[key]))[0] != "HEALTHY":
                await lives.services.connect(simulator, again=accounts[key])
        await lives.half_hour()


async def test_no_secret_of_any_service_is_in_anything_that_whole_lives_emit(
    lives: Lives, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From one customer on a shop is read by bulk operations, whose files have signed addresses.
    monkeypatch.setattr(reading, "BULK_FROM", 1)
    simulators = {key: SIMULATORS[key](3) for key in SERVICES}
    await lives.let_run(simulators, configure)
    async with monitored(lives.redis, lives.haystacks["redis"]), lives.working():
        accounts, imports = await connect_all(lives, simulators)
        await renew(lives, simulators)
        assert {await last_run(import_id) for import_id in imports.values()} == {("COMPLETED", None, None)}
        assert {key for key, simulator in simulators.items() if was_renewed(simulator)} == {*RENEWING}
        cast("WooShop", simulators["woocommerce"]).drops_authorization = True
        await break_everything(lives, simulators, accounts, imports)
        with monkeypatch.context() as bug:
            bug.setattr(CsvUrl, "pages", broken)
            simulators["csv_url"].add("somebody@example.com")
            await lives.half_hour()
        assert (await last_run(imports["csv_url"]))[:2] == ("FAILED", "INTERNAL")
        await lives.look()
        for row in await ExternalAccount.all():
            assert unseal_json(row.credentials or b"", row=row.id)
        for external_account in accounts.values():
            left = (await lives.services.client.data(DISCONNECT, id=external_account))["disconnectExternalAccount"]
            assert (left["externalAccount"], left["warnings"]) == ({"health": "DISCONNECTED"}, [])
        await lives.look()
    lives.note(simulators)

    assert found({secret: spellings(secret) for secret in lives.secrets}, lives.haystacks) == []
    # It would be found: what is no secret is, in each of them.
    one = str(key_of("ExternalAccount", accounts["trello"]))
    planted = {"answers": PLANTED, "postgresql": PLANTED, "redis": one, "logs": one, "reprs": CLIENT_ID}
    for haystack, needle in planted.items():
        assert found({needle: spellings(needle)}, {haystack: lives.haystacks[haystack]}), haystack
