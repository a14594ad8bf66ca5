"""An account, its API and a worker, and simulated services behind real sockets: connected, imported, watched."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import orjson
import uvicorn

from api.app import create_app
from api.node import key_of
from connectors.http_client import open_client
from connectors.registry import SERVICES
from domain import cycle, database
from domain.models import AutomaticImport, ExternalAccount, ImportRun, LedgerEntry, RecordOutcome
from domain.queue import Queue
from domain.settings import client_registration
from jobs.catalogue import ConnectorCatalogue
from jobs.reactions import Context
from jobs.sync_external_account import sync_external_account
from tests.api.conftest import Client, make_client
from tests.api.live import bind
from tests.api.returning import come_back
from tests.configuration import Configure
from tests.connectors.simulators.kit import CLIENT_ID, CLIENT_SECRET, Simulator
from tests.connectors.simulators.woocommerce import WooShop
from tests.fakes import DeafWatch, RecordingEvents
from tests.jobs.scripted import RecordedEvents, RecordedQueue

PUBLIC = "https://sluice.example"
MOST_CYCLES = 20
COUNTS = ("read", "created", "updated", "unchanged", "skipped", "waiting", "failed", "deleted")

START = """mutation ($input: StartServiceAuthorizationInput!) { startServiceAuthorization(input: $input) {
    authorizationUrl serviceAuthorization { id } userErrors { code field message } } }"""
ATTEMPT = """query ($id: ID!) { serviceAuthorization(id: $id) {
    state externalAccount { id label health } userErrors { code field message } } }"""
CONNECT = """mutation ($input: ConnectServiceInput!) { connectService(input: $input) {
    externalAccount { id label health } userErrors { code field message } } }"""
RECONNECT = """mutation ($input: ReconnectExternalAccountInput!) { reconnectExternalAccount(input: $input) {
    externalAccount { id label health } userErrors { code field message } } }"""
CREATE = """mutation ($input: CreateAutomaticImportInput!) { createAutomaticImport(input: $input) {
    automaticImport { id } userErrors { code field message } } }"""
CONTACTS = """{ contacts(first: 100) { edges { node {
    email firstName lastName phone status tags { name } fieldValues { personalizationTag value } } } } }"""


@dataclass(kw_only=True)
class Services:
    """Everything around one account. `origins`: where each simulator's vendor is reached on this machine."""

    client: Client
    origins: dict[str, str]
    queue: Queue
    running: AsyncExitStack
    allow_private_hosts: bool = True
    events: RecordedEvents = field(default_factory=RecordedEvents)

    async def run(self, simulator: Simulator) -> str:
        """Let the vendor's servers run. Returns where."""
        address = await self.running.enter_async_context(serving(simulator.traffic))
        self.origins.update(dict.fromkeys(simulator.origins, f"http://{address}"))
        if isinstance(simulator, WooShop):
            simulator.post = self._take_key
        return address

    async def _take_key(self, url: str, body: Mapping[str, Any]) -> int:
        return (await self.client.http.post(httpx.URL(url).path, json=body)).status_code

    # What users do

    async def agree(
        self,
        simulator: Simulator,
        *,
        again: str | None = None,
        meanwhile: Callable[[], Awaitable[object]] | None = None,
    ) -> Any:
        """Connect on the service's own page, or reconnect `again`. Returns the attempt as the API shows it.

        `meanwhile`: what happens before the user comes back.
        """
        asked = {"service": simulator.service, "details": details_of(simulator)}
        started = (await self.client.data(START, input={**asked, "externalAccountId": again}))[
            "startServiceAuthorization"
        ]
        if started["userErrors"]:
            return started
        async with httpx.AsyncClient() as browser:
            page = await browser.get(started["authorizationUrl"])
        if meanwhile is not None:
            await meanwhile()
        await come_back(self.client.http, page.headers["Location"])
        return (await self.client.data(ATTEMPT, id=started["serviceAuthorization"]["id"]))["serviceAuthorization"]

    async def enter(
        self, simulator: Simulator, *, credentials: Mapping[str, Any] | None = None, again: str | None = None
    ) -> Any:
        """Connect by the form, or reconnect `again`. Returns the payload."""
        given = {"credentials": credentials or simulator.credentials}
        if again is not None:
            answer = await self.client.data(RECONNECT, input={"externalAccountId": again, **given})
        else:
            answer = await self.client.data(CONNECT, input={"service": simulator.service, **given})
        [payload] = answer.values()
        return payload

    async def connect(self, simulator: Simulator, *, again: str | None = None, by_form: bool = False) -> str:
        """Connect as the service recommends. Returns the external account's id."""
        service = SERVICES[simulator.service]
        by_consent = service.authorization is not None and not (by_form and service.form is not None)
        way = self.agree if by_consent else self.enter
        connected = await way(simulator, again=again)
        assert connected["userErrors"] == [], connected
        assert connected["externalAccount"]["health"] == "HEALTHY"
        external_account_id: str = connected["externalAccount"]["id"]
        return external_account_id

    async def create(self, external_account_id: str, simulator: Simulator, **values: Any) -> UUID:
        """Import by the simulator's criteria. Returns the import's key."""
        wanted = {"externalAccountId": external_account_id, "name": simulator.service, "criteria": simulator.criteria}
        created = (await self.client.data(CREATE, input={**wanted, **values}))["createAutomaticImport"]
        assert created["userErrors"] == [], created
        return key_of("AutomaticImport", created["automaticImport"]["id"])

    async def set_up(self, simulator: Simulator, *, by_form: bool = False, **values: Any) -> UUID:
        """A simulator that runs, connected and imported once. Returns the import's key."""
        await self.run(simulator)
        import_id = await self.create(await self.connect(simulator, by_form=by_form), simulator, **values)
        await self.work()
        return import_id

    # What a worker does

    @property
    def context(self) -> Context:
        """What the worker gives to its jobs."""
        return Context(
            services=SERVICES,
            open_client=partial(open_client, allow_private_hosts=self.allow_private_hosts, origins=self.origins),
            events=self.events,
            queue=self.queue,
        )

    async def work(self) -> None:
        """Serve what is due, until nothing is."""
        for _ in range(MOST_CYCLES):
            claims = await cycle.claim_due(10)
            if not claims:
                return
            for claim in claims:
                await sync_external_account(
                    self.context, str(claim.account_id), str(claim.external_account_id), str(claim.lease_token)
                )
        raise AssertionError("the cycles do not end")

    async def next_window(self) -> None:
        """The half hour is over, and so is every wait that a service asked for, or a failure made longer."""
        await database.fetch("UPDATE automatic_import SET next_attempt_at = NULL")
        await database.fetch(
            "UPDATE external_account SET window_ends_at = now() + interval '30 minutes', window_used = 0,"
            " not_before = NULL, next_cycle_at = CASE WHEN next_cycle_at IS NULL THEN NULL ELSE now() END"
        )

    async def next_cycle(self, import_id: UUID) -> dict[str, int]:
        """What the next half hour came to for the import: counts that are not 0, and how many outcomes were written."""
        before = await counts(import_id)
        await self.next_window()
        await self.work()
        return dict((await counts(import_id)) - before)

    async def a_day_goes_by(self, import_id: UUID) -> None:
        """Shopify's customers are all read once a day."""
        await database.fetch(
            "UPDATE automatic_import SET checkpoint = jsonb_set(checkpoint, '{swept_at}',"
            " to_jsonb((checkpoint->>'swept_at')::timestamptz - interval '25 hours')) WHERE id = $1",
            import_id,
        )

    # What is there then

    async def contacts(self) -> dict[str, dict[str, Any]]:
        """All contacts as the API shows them, by address; values by personalization tag, tags by name."""
        found = [each["node"] for each in (await self.client.data(CONTACTS))["contacts"]["edges"]]
        for each in found:
            each["tags"] = [tag["name"] for tag in each["tags"]]
            each["values"] = {value["personalizationTag"]: value["value"] for value in each.pop("fieldValues")}
        return {each.pop("email"): each for each in found}

    async def statuses(self) -> dict[str, str]:
        """The status of every contact, by address."""
        return {email: contact["status"] for email, contact in (await self.contacts()).items()}

    async def health(self, import_id: UUID) -> tuple[str, str | None]:
        """Health of the import's external account, and the reason that users are shown."""
        row = await self.external_account(import_id)
        return row.health.value, row.health_reason

    async def external_account(self, import_id: UUID) -> ExternalAccount:
        """The import's external account as stored."""
        return await ExternalAccount.get(id=(await AutomaticImport.get(id=import_id)).external_account_id)


@asynccontextmanager
async def serving(app: Any, *, access_log: bool = False) -> AsyncIterator[str]:
    """Let an application run on this machine. Logs go where they go anyway."""
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, access_log=access_log, ws="none")
    server = uvicorn.Server(config)
    with bind() as listener:
        running = asyncio.create_task(server._serve([listener]))
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await running


def details_of(simulator: Simulator) -> dict[str, Any]:
    """What has to be known before the service's page."""
    return {name: simulator.credentials[name] for name in ("shop", "url") if name in simulator.credentials}


async def counts(import_id: UUID) -> Counter[str]:
    """What all runs of the import came to until now, and its outcomes."""
    runs = await ImportRun.filter(automatic_import_id=import_id)
    found = Counter({name: sum(getattr(run, f"{name}_count") for run in runs) for name in COUNTS})
    found["outcomes"] = await RecordOutcome.filter(automatic_import_id=import_id).count()
    return found


async def last_run(import_id: UUID) -> tuple[str, str | None, str | None]:
    """State of the import's last run, and its error: code and message."""
    run = (await ImportRun.filter(automatic_import_id=import_id).order_by("id"))[-1]
    return run.state.value, run.error_code, run.error_message


async def state(import_id: UUID) -> tuple[str, str | None]:
    """State of the import, and the reason that users are shown."""
    row = await AutomaticImport.get(id=import_id)
    return row.state.value, row.state_reason


async def ledger(import_id: UUID) -> dict[str, tuple[str, str | None]]:
    """State and code of every record of the import, by external id."""
    return {
        row.external_id: (row.state.value, row.code) async for row in LedgerEntry.filter(automatic_import_id=import_id)
    }


async def checkpoint(import_id: UUID) -> Any:
    """The import's checkpoint as stored."""
    [row] = await database.fetch("SELECT checkpoint::text FROM automatic_import WHERE id = $1", import_id)
    return orjson.loads(row["checkpoint"] or "null")


def register(configure: Configure) -> None:
    """Register this server at every vendor. No window ends by itself while a test runs."""
    registrations = {
        f"{key}_{name}": value
        for key in SERVICES
        for name, value in (("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET))
    }
    configure(public_url=PUBLIC, cycle_seconds=604_800, **registrations)
    client_registration.cache_clear()


@asynccontextmanager
async def services_world(configure: Configure, *, allow_private_hosts: bool = True) -> AsyncIterator[Services]:
    """An account with no service connected yet, on a server that is registered at every vendor."""
    register(configure)
    origins: dict[str, str] = {}
    catalogue = ConnectorCatalogue(registered=SERVICES, allow_private_hosts=allow_private_hosts, origins=origins)
    queue = RecordedQueue()
    app = create_app(catalogue=catalogue, queue=queue, events=RecordingEvents(), watch=DeafWatch())
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://sluice.test") as http, AsyncExitStack() as stack:
        client = await make_client(http)
        yield Services(
            client=client,
            allow_private_hosts=allow_private_hosts,
            origins=origins,
            queue=queue,
            running=stack,
        )
    client_registration.cache_clear()
