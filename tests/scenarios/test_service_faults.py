"""What goes wrong at services: users read what to do, the other imports go on, and once it is over nothing is lost."""

from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.node import global_id
from domain import database
from domain.credentials import seal_json, unseal_json
from domain.models import ExternalAccount
from tests.configuration import Configure
from tests.connectors.simulators import SIMULATORS
from tests.connectors.simulators.asana import OTHER_WORKSPACE, WORKSPACE, AsanaApi
from tests.connectors.simulators.asana_oauth import SCOPES as ASANA_SCOPES
from tests.connectors.simulators.csv_url import PASSWORD, USERNAME, CsvFile
from tests.connectors.simulators.google_answers import item
from tests.connectors.simulators.google_contacts import GoogleContacts
from tests.connectors.simulators.google_oauth import CONTACTS_SCOPE, SCOPES
from tests.connectors.simulators.kit import Fault, Simulator
from tests.connectors.simulators.shopify import DOMAIN, NOT_APPROVED, ShopifyShop
from tests.connectors.simulators.shopify_oauth import CUSTOM_TOKEN
from tests.connectors.simulators.trello import OTHER_WORKSPACE as OTHER_TRELLO
from tests.connectors.simulators.trello import WORKSPACE as TRELLO
from tests.connectors.simulators.trello import TrelloApi
from tests.connectors.simulators.woocommerce import SHOP, WooShop
from tests.factories import make_tag
from tests.scenarios.names import PRIVATE, PUBLIC, Names, set_clock
from tests.scenarios.services import Services, counts, last_run, ledger, services_world, serving, state

ANN, BOB, CID = "ann.lee@example.com", "bob.ray@example.com", "cid.fox@example.com"
SIX = {f"person-{number}@example.com" for number in range(6)}
FILE, LOGIN = "https://newsletter.example.com", {"username": USERNAME, "password": PASSWORD}
PAGED = ("asana", "google_contacts", "shopify", "woocommerce")
KEYS = (*PAGED, "csv_url", "trello")
HEALTHY = ("HEALTHY", None)

GRANT = "Give the app the scope read_customers and access to customers' name, address, email and phone."
NO_SCOPE = "Access denied for customers field. Required access: `read_customers` access scope."
NEW_KEY = "Create one with Read permission for an administrator, under WooCommerce → Settings → Advanced → REST API."
UNKNOWN_KEY = f"{SHOP} does not know this key: it was deleted there, or did not reach WooCommerce. {NEW_KEY}"
TAKEN_BACK = (
    "POST https://oauth2.googleapis.com/token: 400 invalid_grant: "
    "the service no longer accepts what the user agreed to."
)
UNINSTALLED = f"{DOMAIN} no longer accepts the access token: the app was uninstalled, or the token replaced."
NOT_GRANTED = "Google was not told to let us see the contacts: every box on its page must stay ticked."
ASANAS_HELP = '"help":"For more information on API status codes and how to handle them, read the docs on errors"}]}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What users are shown of an import: of its last run, of its external account, of itself."""

    run: tuple[str, str | None, str | None]
    health: tuple[str, str | None]
    state: tuple[str, str | None]


WELL = Told(run=("COMPLETED", None, None), health=HEALTHY, state=("ACTIVE", None))


def failing(message: str) -> Told:
    """The import is at fault, and tried again by itself."""
    return Told(run=("FAILED", "UNEXPECTED_RESPONSE", message), health=HEALTHY, state=("FAILING", message))


def waiting(message: str) -> Told:
    """The service is busy or away, which is nobody's fault."""
    return Told(run=("WAITING_FOR_SERVICE", "SERVICE_UNAVAILABLE", message), health=HEALTHY, state=("ACTIVE", None))


def shut_out(message: str) -> Told:
    """Somebody has to reconnect the external account."""
    message = f"{message.rstrip('.')}. Reconnect the external account."
    return Told(run=("FAILED", "ACCESS_REVOKED", message), health=("NEEDS_RECONNECT", message), state=("ACTIVE", None))


@dataclass(slots=True, kw_only=True)
class Town:
    """The services of an account, one of which runs well: a file that somebody joins in each half hour."""

    services: Services
    file: CsvFile
    import_id: UUID
    joined: int = 0

    async def half_hour(self, import_id: UUID) -> Told:
        """What users are shown of an import after the next half hour, in which the file was followed as ever."""
        self.joined += 1
        newcomer = self.file.add(f"joined-{self.joined}@file.example")
        await self.services.next_window()
        await self.services.work()
        assert (await ledger(self.import_id))[newcomer] == ("LINKED", None)
        assert await self.told(self.import_id) == WELL
        return await self.told(import_id)

    async def told(self, import_id: UUID) -> Told:
        """What users are shown of an import now."""
        run, code, message = await last_run(import_id)
        health, health_reason = await self.services.health(import_id)
        now, reason = await state(import_id)
        return Told(
            run=(run, code, self.named(message)),
            health=(health, self.named(health_reason)),
            state=(now, self.named(reason)),
        )

    def named(self, message: str | None) -> str | None:
        """The message as the vendor's own address makes it."""
        for origin, there in self.services.origins.items():
            message = message.replace(there, origin) if message else message
        return message

    async def contacts(self) -> set[str]:
        """The addresses of all contacts, without those of the file."""
        return {email for email in await self.services.contacts() if not email.endswith("@file.example")}

    async def external_account(self, import_id: UUID) -> str:
        """The id of the import's external account."""
        return global_id("ExternalAccount", (await self.services.external_account(import_id)).id)

    async def imported(self, simulator: Simulator, **values: Any) -> tuple[UUID, Counter[str]]:
        """Ann and Bob are imported; then Ann changes, and Cid comes. The import, and what it counted so far."""
        ann, _ = simulator.add(ANN), simulator.add(BOB)
        import_id = await self.services.set_up(simulator, by_form=True, **values)
        assert await self.contacts() == {ANN, BOB}
        simulator.change(ann)
        simulator.add(CID)
        return import_id, await counts(import_id)

    async def assert_recovered(self, import_id: UUID, before: Counter[str]) -> None:
        """What happened meanwhile is caught up with, once."""
        assert await self.half_hour(import_id) == WELL
        assert await self.contacts() == {ANN, BOB, CID}
        news = (await counts(import_id)) - before
        assert (news["created"], news["updated"], news["deleted"], news["failed"]) == (1, 1, 0, 0)
        assert {code for _, code in (await ledger(import_id)).values()} == {None}


@pytest.fixture
async def town(services: Services) -> Town:
    """An account with one import that runs well."""
    file = CsvFile(origins=(FILE,), credentials={"url": f"{FILE}/contacts.csv", **LOGIN})
    file.add("first@file.example")
    return Town(services=services, file=file, import_id=await services.set_up(file))


async def test_a_wrong_shop_domain(town: Town) -> None:
    shop, wrong = ShopifyShop(), "sluice-dmo.myshopify.com"
    address = await town.services.run(shop)
    town.services.origins[f"https://{wrong}"] = f"http://{address}"

    refusals = [
        (await town.services.enter(shop, credentials={"shop": typed, "access_token": CUSTOM_TOKEN}))["userErrors"]
        for typed in (wrong, "shop.example.com")
    ]
    assert refusals == [
        [
            {
                "code": "INVALID",
                "field": ["credentials"],
                "message": f"There is no shop at {wrong}: check its name. Check the address and the credentials.",
            }
        ],
        [
            {
                "code": "INVALID",
                "field": ["credentials", "shop"],
                "message": "must be the shop's name at Shopify, like my-shop.myshopify.com: Settings › Domains shows it"
                ", and it stays the same where the shop has a domain of its own.",
            }
        ],
    ]

    import_id, before = await town.imported(shop)
    # The shop gave its name up, and took it back.
    shop.status = 404
    assert await town.half_hour(import_id) == failing(f"There is no shop at {DOMAIN}: check its name.")
    shop.status = 200
    await town.assert_recovered(import_id, before)


async def test_a_shop_whose_server_is_away(town: Town) -> None:
    shop = WooShop()
    import_id, before = await town.imported(shop)
    there, town.services.origins[SHOP] = town.services.origins[SHOP], "http://127.0.0.1:1"

    assert await town.half_hour(import_id) == waiting(
        f"GET {SHOP}/wp-json/wc/v3/customers: no connection (All connection attempts failed)"
    )
    town.services.origins[SHOP] = there
    await town.assert_recovered(import_id, before)


def _without_scope(shop: ShopifyShop) -> None:
    shop.oauth.access_tokens[CUSTOM_TOKEN] = frozenset({"read_orders"})


def _with_scope(shop: ShopifyShop) -> None:
    shop.oauth.access_tokens[CUSTOM_TOKEN] = frozenset({"read_customers"})


def _write_only(shop: WooShop) -> None:
    shop.key_permissions = "write"


def _of_a_subscriber(shop: WooShop) -> None:
    shop.key_may_list = False


def _of_an_administrator(shop: WooShop) -> None:
    shop.key_permissions, shop.key_may_list = "read", True


def _contacts_unticked(google: GoogleContacts) -> None:
    google.oauth.granted = SCOPES - {CONTACTS_SCOPE}
    for tokens in (google.oauth.access_tokens, google.oauth.refresh_tokens):
        tokens.update(dict.fromkeys(tokens, google.oauth.granted))


def _every_box_ticked(google: GoogleContacts) -> None:
    google.oauth.granted = SCOPES


def _no_users(asana: AsanaApi) -> None:
    asana.oauth.tokens.update(dict.fromkeys(asana.oauth.tokens, ASANA_SCOPES - {"users:read"}))


def _all_of_asana(asana: AsanaApi) -> None:
    asana.oauth.tokens.update(dict.fromkeys(asana.oauth.tokens, frozenset({"default"})))


@pytest.mark.parametrize(
    ("make", "take", "give", "told", "refused"),
    [
        (
            ShopifyShop,
            _without_scope,
            _with_scope,
            f"{DOMAIN} says: {NO_SCOPE} {GRANT}",
            f"Sluice Demo gave no access to its customers. {GRANT}",
        ),
        (WooShop, _write_only, _of_an_administrator, *[f"{SHOP} does not accept this key for reading. {NEW_KEY}"] * 2),
        (
            WooShop,
            _of_a_subscriber,
            _of_an_administrator,
            *[f"Whom this key of {SHOP} belongs to may not see all of it. {NEW_KEY}"] * 2,
        ),
        (GoogleContacts, _contacts_unticked, _every_box_ticked, NOT_GRANTED, NOT_GRANTED),
        (
            AsanaApi,
            _no_users,
            _all_of_asana,
            *[
                f"GET https://app.asana.com/api/1.0/users{who}: 403 "
                f'{{"errors":[{{"message":"Forbidden: this app lacks the scope users:read",{ASANAS_HELP}'
                for who in ("", "/me")
            ],
        ),
    ],
    ids=["shopify", "woocommerce, write only", "woocommerce, of a subscriber", "google_contacts", "asana"],
)
async def test_a_key_without_the_scope(
    town: Town,
    make: Callable[[], Any],
    take: Callable[[Any], None],
    give: Callable[[Any], None],
    told: str,
    refused: str,
) -> None:
    simulator = make()
    import_id, before = await town.imported(simulator)
    external_account = await town.external_account(import_id)
    take(simulator)

    assert await town.half_hour(import_id) == shut_out(told)
    enter = town.services.agree if simulator.service == "google_contacts" else town.services.enter
    [problem] = (await enter(simulator, again=external_account))["userErrors"]
    assert problem["code"] == "CREDENTIALS_REJECTED"
    assert (town.named(problem["message"]) or "").startswith(refused)
    assert (await town.told(import_id)).health == shut_out(told).health

    give(simulator)
    await town.services.connect(simulator, again=external_account, by_form=True)
    await town.assert_recovered(import_id, before)


async def test_an_account_without_access_to_customer_data(town: Town) -> None:
    shop, told = ShopifyShop(), f"{DOMAIN} says: {NOT_APPROVED} {GRANT}"
    import_id, before = await town.imported(shop)
    external_account = await town.external_account(import_id)
    shop.hidden = frozenset({"firstName", "lastName", "defaultEmailAddress"})

    assert await town.half_hour(import_id) == shut_out(told)
    [problem] = (await town.services.enter(shop, again=external_account))["userErrors"]
    assert (problem["code"], problem["message"].startswith(told)) == ("CREDENTIALS_REJECTED", True)

    shop.hidden = frozenset()
    await town.services.connect(shop, again=external_account, by_form=True)
    await town.assert_recovered(import_id, before)


async def test_an_account_whose_customer_data_are_hidden_without_a_word(town: Town) -> None:
    shop = ShopifyShop()
    import_id, before = await town.imported(shop)
    shop.hidden, shop.hides_silently = frozenset({"firstName", "lastName", "defaultEmailAddress"}), True

    # It looks like customers without addresses, and no known contact loses its own.
    assert await town.half_hour(import_id) == WELL
    assert (await counts(import_id)) - before == {"read": 3, "skipped": 3, "outcomes": 3}
    assert await town.contacts() == {ANN, BOB}
    refused = await town.services.enter(shop, again=await town.external_account(import_id))
    assert [error["message"].partition(" Give ")[0] for error in refused["userErrors"]] == [
        "Sluice Demo hides the addresses of its customers from this app."
    ]

    shop.hidden = frozenset()
    before = await counts(import_id)
    await town.services.a_day_goes_by(import_id)
    await town.assert_recovered(import_id, before)


REVOKED = {
    "asana": f'GET https://app.asana.com/api/1.0/users: 401 {{"errors":[{{"message":"Not Authorized",{ASANAS_HELP}',
    "google_contacts": TAKEN_BACK,
    "shopify": UNINSTALLED,
    "woocommerce": UNKNOWN_KEY,
}


async def six_by_two(town: Town, key: str) -> tuple[Simulator, str]:
    """A service with six people, connected, that lists two a page; and the external account's id."""
    simulator = SIMULATORS[key](6)
    simulator.page_size = 2
    await town.services.run(simulator)
    return simulator, await town.services.connect(simulator, by_form=True)


def behind_the_first_page(simulator: Simulator, happen: Callable[[], None]) -> None:
    """Let something happen once two people have been told."""
    asked = len(simulator.traffic.exchanges)

    def meanwhile() -> None:
        if any(b"person-" in exchange.answer for exchange in simulator.traffic.exchanges[asked:]):
            happen()

    simulator.traffic.meanwhile = meanwhile


@pytest.mark.parametrize("key", PAGED)
async def test_a_token_revoked_in_mid_run(town: Town, key: str) -> None:
    simulator, external_account = await six_by_two(town, key)
    behind_the_first_page(simulator, simulator.revoke)
    import_id = await town.services.create(external_account, simulator)

    assert await town.half_hour(import_id) == shut_out(REVOKED[key])
    assert await town.contacts() == {"person-0@example.com", "person-1@example.com"}

    simulator.traffic.meanwhile = None
    if isinstance(simulator, WooShop):
        simulator.revoked = False
    await town.services.connect(simulator, again=external_account)
    before = await counts(import_id)
    assert await town.half_hour(import_id) == WELL
    # It goes on behind the page that was stored.
    assert (await counts(import_id)) - before == {"read": 4, "created": 4, "outcomes": 4}
    assert await town.contacts() == SIX


@pytest.mark.parametrize(
    ("make", "vanish", "told"),
    [
        (
            AsanaApi,
            lambda asana: asana.gone.update({WORKSPACE: 404}),
            f"The workspace {WORKSPACE} does not exist, or this login is not in it: choose another.",
        ),
        (
            AsanaApi,
            lambda asana: asana.gone.update({WORKSPACE: 403}),
            f"The workspace {WORKSPACE} does not exist, or this login is not in it: choose another.",
        ),
        (
            TrelloApi,
            lambda trello: trello.workspaces.pop(TRELLO),
            f"The workspace {TRELLO} was closed or deleted, or is no longer shared with this login: choose others.",
        ),
        (
            TrelloApi,
            lambda trello: trello.hidden.update({TRELLO: 401}),
            f"The workspace {TRELLO} was closed or deleted, or is no longer shared with this login: choose others.",
        ),
    ],
    ids=["asana, deleted", "asana, left", "trello, deleted", "trello, left"],
)
async def test_a_workspace_that_vanished(
    town: Town, make: Callable[[], Any], vanish: Callable[[Any], object], told: str
) -> None:
    simulator = make()
    there = dict(simulator.workspaces)
    tag = await make_tag(town.services.client.account_id, "Gone")
    policy = {"deletionPolicy": "TAG", "deletionTagId": global_id("Tag", tag.id)}
    import_id, before = await town.imported(simulator, **policy)
    criteria = {"workspace": OTHER_WORKSPACE} if simulator.service == "asana" else {"workspaces": [OTHER_TRELLO]}
    elsewhere = await town.services.create(await town.external_account(import_id), simulator, criteria=criteria)
    vanish(simulator)

    for _ in range(3):
        assert await town.half_hour(import_id) == failing(told)
        # Another workspace of the same login is another matter.
        assert await town.told(elsewhere) == WELL
    simulator.workspaces = there
    (simulator.gone if simulator.service == "asana" else simulator.hidden).clear()
    await town.assert_recovered(import_id, before)
    assert {tuple(contact["tags"]) for contact in (await town.services.contacts()).values()} == {()}


REPEATING = {
    "asana": ("Asana sends the same page again and again.", 5),
    "google_contacts": ("Google gave the same page again and again.", 2),
    "shopify": ("Shopify gives the same page of customers again and again.", 3),
    "woocommerce": ("The shop gives the same page of wc/v3/customers again and again: is it cached?", 2),
}
"""What users are told, and after how many requests."""


@pytest.mark.parametrize("key", PAGED)
async def test_a_page_that_repeats_for_ever(town: Town, key: str) -> None:
    simulator, external_account = await six_by_two(town, key)

    def repeat() -> None:
        if isinstance(simulator, ShopifyShop):
            simulator.ignores_ids = True
        else:
            simulator.traffic.replays = True

    behind_the_first_page(simulator, repeat)
    import_id, asked = await town.services.create(external_account, simulator), len(simulator.traffic.exchanges)
    told, requests = REPEATING[key]
    assert await town.half_hour(import_id) == failing(told)
    assert len(simulator.traffic.exchanges) - asked == requests

    simulator.traffic.meanwhile, simulator.traffic.replays = None, False
    if isinstance(simulator, ShopifyShop):
        simulator.ignores_ids = False
    assert await town.half_hour(import_id) == WELL
    assert await town.contacts() == SIX
    assert (await counts(import_id))["created"] == 6


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """A network on which the files' servers have public addresses."""
    made = Names({name: [PUBLIC] for name in ("files.example.com", "newsletter.example.com")})
    made.install(monkeypatch)
    return made


@pytest.fixture
async def public_town(database: None, configure: Configure, names: Names) -> AsyncIterator[Town]:
    """A town that lets nobody connect private addresses."""
    async with services_world(configure, allow_private_hosts=False) as services:
        file = CsvFile()
        file.credentials = {"url": await run_at(services, file, "newsletter.example.com"), **LOGIN}
        file.add("first@file.example")
        import_id = await services.create(await services.connect(file), file)
        await services.work()
        yield Town(services=services, file=file, import_id=import_id)


async def run_at(services: Services, file: CsvFile, name: str) -> str:
    """Let the file's server run. Returns the file's address."""
    address = await services.running.enter_async_context(serving(file.traffic))
    return f"http://{name}:{address.rpartition(':')[2]}/contacts.csv"


def private(url: str) -> str:
    """What is said of an address that nobody may connect; of a file's, which may be secret, but the server."""
    server = str(httpx.URL(url).copy_with(path="/")).rstrip("/")
    return (
        f"GET {server}: the host has a private address; "
        "the operator of this server can allow such hosts with SLUICE_ALLOW_PRIVATE_HOSTS"
    )


async def test_a_host_that_resolves_to_a_private_address(public_town: Town, names: Names) -> None:
    town, file = public_town, CsvFile()
    url = await run_at(town.services, file, "files.example.com")
    names.means["intranet.example.com"] = [PRIVATE]

    for typed in ("http://intranet.example.com/contacts.csv", f"http://{PRIVATE}/contacts.csv"):
        refused = await town.services.enter(file, credentials={"url": typed, **LOGIN})
        assert refused["userErrors"] == [
            {
                "code": "INVALID",
                "field": ["credentials"],
                "message": f"{private(typed)}. Check the address and the credentials.",
            }
        ]

    file.credentials = {"url": url, **LOGIN}
    ann, _ = file.add(ANN), file.add(BOB)
    import_id = await town.services.create(await town.services.connect(file), file)
    await town.services.work()
    file.change(ann)
    file.add(CID)
    before, names.means["files.example.com"] = await counts(import_id), [PRIVATE]
    assert await town.half_hour(import_id) == failing(private(url))
    assert {*names.connected} == {PUBLIC}
    names.means["files.example.com"] = [PUBLIC]
    await town.assert_recovered(import_id, before)


async def test_a_redirect_to_a_private_address(public_town: Town, names: Names) -> None:
    town, file = public_town, CsvFile()
    url = await run_at(town.services, file, "files.example.com")
    file.credentials = {"url": url, **LOGIN}
    ann, _ = file.add(ANN), file.add(BOB)
    import_id = await town.services.create(await town.services.connect(file), file)
    await town.services.work()
    file.change(ann)
    file.add(CID)
    before = await counts(import_id)

    names.means["intranet.example.com"] = [PRIVATE]
    for leads_to in ("http://intranet.example.com/secrets", f"http://{PRIVATE}/secrets"):
        file.redirects = {"/contacts.csv": leads_to}
        assert await town.half_hour(import_id) == failing(private(leads_to))
    assert {*names.connected} == {PUBLIC}
    file.redirects = {}
    await town.assert_recovered(import_id, before)


async def test_a_name_that_means_a_private_address_once_it_was_looked_at(public_town: Town, names: Names) -> None:
    town, file = public_town, CsvFile()
    url = await run_at(town.services, file, "files.example.com")
    file.credentials = {"url": url, **LOGIN}
    ann, _ = file.add(ANN), file.add(BOB)
    import_id = await town.services.create(await town.services.connect(file), file)
    await town.services.work()
    file.change(ann)
    file.add(CID)
    before = await counts(import_id)

    names.means["files.example.com"] = [PUBLIC, PRIVATE]
    assert await town.half_hour(import_id) == failing(private(url))
    assert names.means["files.example.com"] == [PRIVATE]
    assert {*names.connected} == {PUBLIC}
    names.means["files.example.com"] = [PUBLIC]
    await town.assert_recovered(import_id, before)


MINUTES_OFF = pytest.mark.parametrize("minutes", [-5, 5], ids=["slow", "fast"])


@MINUTES_OFF
async def test_a_clock_5_minutes_off_renews_tokens_before_the_vendor_refuses_them(
    town: Town, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    google = GoogleContacts()
    import_id, before = await town.imported(google)
    row = await town.services.external_account(import_id)
    tokens = unseal_json(row.credentials or b"", row=row.id)
    # A slow clock gives a token five minutes that it does not have, a fast one takes them from it.
    ends_at = datetime.now(UTC) - timedelta(seconds=minutes < 0)
    tokens["expires_at"] = (ends_at + timedelta(minutes=max(minutes, 0))).isoformat()
    await ExternalAccount.filter(id=row.id).update(credentials=seal_json(tokens, row=row.id))
    if minutes < 0:
        google.oauth.access_tokens.clear()
    asked = len(google.traffic.exchanges)

    set_clock(monkeypatch, off_by=timedelta(minutes=minutes))
    await town.assert_recovered(import_id, before)

    assert [(each.method, each.url.path, each.status) for each in google.traffic.exchanges[asked:]] == [
        ("POST", "/token", 200),
        ("GET", "/v1/people/me/connections", 200),
    ]


@MINUTES_OFF
@pytest.mark.parametrize("whose", ["ours", "the shop's"])
@pytest.mark.parametrize("key", ["shopify", "woocommerce"])
async def test_a_clock_5_minutes_off_moves_no_watermark_past_a_change(
    town: Town, monkeypatch: pytest.MonkeyPatch, key: str, whose: str, minutes: int
) -> None:
    off_by, right = timedelta(minutes=minutes), datetime.now(UTC).replace(microsecond=0)
    shop: Any = ShopifyShop() if key == "shopify" else WooShop(criteria={"role": "customer", "guests": True})
    shop.now = right + (off_by if whose == "the shop's" else timedelta())
    if whose == "ours":
        set_clock(monkeypatch, off_by=off_by)
    buy: Callable[[str], Any] = shop.add if key == "shopify" else shop.order
    buy(ANN)
    import_id = await town.services.set_up(shop, by_form=True)
    for email in (BOB, CID):
        assert await town.half_hour(import_id) == WELL
        buy(email)
        assert await town.half_hour(import_id) == WELL
        assert email in await town.contacts()

    assert (await counts(import_id))["created"] == 3
    assert (await town.services.external_account(import_id)).health == "HEALTHY"


@MINUTES_OFF
async def test_a_clock_5_minutes_off_leaves_users_their_10_minutes_to_agree(
    town: Town, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    google = GoogleContacts()
    await town.services.run(google)
    set_clock(monkeypatch, off_by=timedelta(minutes=minutes))

    def minutes_go_by(gone: int) -> Callable[[], Awaitable[object]]:
        statement = "UPDATE service_authorization SET expires_at = expires_at - $1::interval"
        return lambda: database.fetch(statement, timedelta(minutes=gone))

    in_time = await town.services.agree(google, meanwhile=minutes_go_by(9))
    late = await town.services.agree(google, meanwhile=minutes_go_by(10))

    assert (in_time["state"], in_time["externalAccount"]["health"]) == ("COMPLETED", "HEALTHY")
    assert (late["state"], late["externalAccount"], late["userErrors"]) == ("EXPIRED", None, [])


@MINUTES_OFF
async def test_a_clock_5_minutes_off_waits_as_long_as_a_service_asks(
    town: Town, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    asana = AsanaApi()
    import_id, before = await town.imported(asana)
    asked = len(asana.traffic.exchanges)
    asana.traffic.faults = deque([Fault(status=429, headers={"Retry-After": "600"})] * 50)
    set_clock(monkeypatch, off_by=timedelta(minutes=minutes))

    told = await town.half_hour(import_id)

    assert told == waiting(LISTINGS["asana"].replace(": 200", ": 429"))
    assert len(asana.traffic.exchanges) - asked == 1
    not_before = (await town.services.external_account(import_id)).not_before
    assert not_before is not None
    # To the minute: a slow machine has most of one to get here.
    [row] = await database.fetch("SELECT now()")
    assert -(-(not_before - row["now"]) // timedelta(minutes=1)) == 10
    asana.traffic.faults.clear()
    await town.assert_recovered(import_id, before)


ERROR = (
    b'{"error": {"code": 500, "message": "Internal error"}, "code": "internal_error", "message": "Internal error",'
    b' "errors": [{"message": "Internal error", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]}'
)
"""As each of the services tells one, but for the status."""
NO_LIST = "not as documented: the whole: Input should be a valid array"
LISTINGS = {
    "asana": f"GET https://app.asana.com/api/1.0/workspaces/{WORKSPACE}/workspace_memberships: 200",
    "google_contacts": "GET https://people.googleapis.com/v1/people/me/connections: 200",
    "shopify": f"POST https://{DOMAIN}/admin/api/2026-10/graphql.json: 200",
    "trello": "GET https://api.trello.com/1/members/me/organizations: 200",
    "woocommerce": f"GET {SHOP}/wp-json/wc/v3/customers: 200",
}
INSIDE = {
    "asana": failing(f"{LISTINGS['asana']}, not as documented: data: Field required"),
    "csv_url": failing("No column of the file is called Email: rename the one that has the addresses."),
    "google_contacts": failing(
        f"{LISTINGS['google_contacts']}, not as documented: the whole: Value error, has nothing of a page of contacts"
    ),
    "shopify": waiting(f"{DOMAIN} says: Internal error"),
    "trello": failing(f"{LISTINGS['trello']}, {NO_LIST}"),
    "woocommerce": failing(f"{LISTINGS['woocommerce']}, {NO_LIST}"),
}
SIGN_IN = {
    **{key: failing(f"{listing}, where JSON was due: text/html") for key, listing in LISTINGS.items()},
    "csv_url": failing(
        "The address answers with a page, perhaps for signing in: use a link that downloads the CSV file itself."
    ),
    "woocommerce": failing(
        f"{SHOP} has no REST API of WordPress (200, text/html): check the address, and that no plugin blocks it."
    ),
}


async def half_hour_of(town: Town, key: str, fault: Fault, told: Told) -> None:
    """The service answers everything so for half an hour; users are `told`; then it recovers."""
    simulator = SIMULATORS[key](0)
    import_id, before = await town.imported(simulator)
    simulator.traffic.faults = deque([fault] * 50)
    assert await town.half_hour(import_id) == told
    simulator.traffic.faults.clear()
    await town.assert_recovered(import_id, before)


@pytest.mark.parametrize("key", KEYS)
async def test_a_200_with_an_error_inside(town: Town, key: str) -> None:
    fault = Fault(status=200, body=ERROR, headers={"Content-Type": "application/json"})
    await half_hour_of(town, key, fault, INSIDE[key])


@pytest.mark.parametrize("key", KEYS)
async def test_html_where_json_was_due(town: Town, key: str) -> None:
    page = b"<!doctype html><html><body>Sign in, please</body></html>"
    fault = Fault(status=200, body=page, headers={"Content-Type": "text/html; charset=utf-8"})
    await half_hour_of(town, key, fault, SIGN_IN[key])


async def test_a_10_mb_record(town: Town) -> None:
    google = GoogleContacts()
    import_id, before = await town.imported(google)
    [ann, bob, cid] = google.contacts
    huge = [item(value="x" * 10 * 1024 * 1024)]
    google.change(bob, biographies=huge)
    google.change(cid, biographies=huge)

    assert await town.half_hour(import_id) == WELL
    assert (await counts(import_id)) - before == {"read": 3, "updated": 1, "failed": 2, "outcomes": 3}
    assert await ledger(import_id) == {
        ann: ("LINKED", None),
        bob: ("FAILED", "REJECTED_VALUE"),
        cid: ("FAILED", "REJECTED_VALUE"),
    }
    assert await town.contacts() == {ANN, BOB}

    before = await counts(import_id)
    google.change(bob, biographies=[item(value="Likes tea")])
    google.change(cid, biographies=[])
    await town.assert_recovered(import_id, before)
    assert (await town.services.contacts())[BOB]["values"] == {"GOOGLE_CONTACTS_NOTES": "Likes tea"}
