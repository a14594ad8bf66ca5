import json

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.sample_service import write_vcards
from connectors.base import (
    AccessRevokedError,
    CheckpointExpiredError,
    Choice,
    RemoteAccount,
    UnexpectedResponseError,
)
from connectors.carddav.books import Credentials
from connectors.carddav.connector import SERVICE, CardDav, Criteria
from tests.connectors.carddav_servers import BOOK, HOME, PASSWORD, Login, Simulator, emails, ids, read, vcard

# The real server


async def test_reads_every_card_of_every_address_book(login: Login) -> None:
    for book in (await login.make_book("friends"), await login.make_book("work")):
        await login.put(f"{book}ann.vcf", vcard("Ann"))
        await login.put(f"{book}bo.vcf", vcard("Bo", version="4.0"))

    pages = await read(login.connector())

    user = login.username
    assert ids(pages) == [
        f"/{user}/friends/ann.vcf",
        f"/{user}/friends/bo.vcf",
        f"/{user}/work/ann.vcf",
        f"/{user}/work/bo.vcf",
    ]
    assert emails(pages) == ["ann@example.com", "ann@example.com", "bo@example.com", "bo@example.com"]
    assert [page.complete for page in pages] == [False, False, True]
    assert [page.remaining for page in pages] == [2, 0, 0]


async def test_reads_only_the_chosen_address_book(login: Login) -> None:
    for name in ("friends", "work"):
        await login.put(f"{await login.make_book(name)}{name}.vcf", vcard(name))

    pages = await read(login.connector(f"/{login.username}/work/"))

    assert emails(pages) == ["work@example.com"]


async def test_later_reads_only_what_changed(login: Login) -> None:
    book = await login.make_book("friends")
    for name in ("Ann", "Bo", "Cid"):
        await login.put(f"{book}{name}.vcf", vcard(name))
    first = await read(login.connector())

    await login.put(f"{book}Bo.vcf", vcard("Bo", "NOTE:new"))
    await login.delete(f"{book}Cid.vcf")
    await login.put(f"{book}Dee.vcf", vcard("Dee"))
    [page] = await read(login.connector(), first[-1].checkpoint)

    assert ids([page]) == [f"{book}Bo.vcf", f"{book}Dee.vcf"]
    assert page.deleted_ids == [f"{book}Cid.vcf"]
    assert not page.complete
    assert await read(login.connector(), page.checkpoint) == []


async def test_skips_groups(login: Login) -> None:
    book = await login.make_book("friends")
    await login.put(f"{book}ann.vcf", vcard("Ann"))
    await login.put(f"{book}team.vcf", vcard("Team", "KIND:group", "MEMBER:urn:uuid:1", version="4.0"))
    await login.put(f"{book}club.vcf", vcard("Club", "X-ADDRESSBOOKSERVER-KIND:group"))

    assert ids(await read(login.connector())) == [f"{book}ann.vcf"]


@pytest.mark.parametrize("path", ["", "/", "/{user}/", "/{user}/friends/"])
async def test_finds_the_address_books_from_any_address(login: Login, path: str) -> None:
    book = await login.make_book("friends")
    await login.put(f"{book}ann.vcf", vcard("Ann"))
    url = login.server.url + path.format(user=login.username)
    credentials = Credentials.model_validate({**login.credentials.model_dump(), "url": url})

    pages = await read(CardDav(login.client, credentials, Criteria()))

    assert ids(pages) == [f"{book}ann.vcf"]


async def test_a_sync_token_that_the_server_forgot_asks_for_a_full_sweep(login: Login) -> None:
    book = await login.make_book("friends")
    token = "http://radicale.org/ns/sync/" + "0" * 64
    checkpoint = {"version": 1, "sweeping": False, "books": {book: {"token": token}}}

    with pytest.raises(CheckpointExpiredError):
        await read(login.connector(), checkpoint)


async def test_a_wrong_password_asks_to_reconnect(login: Login) -> None:
    credentials = Credentials.model_validate({**login.credentials.model_dump(), "password": "wrong"})

    with pytest.raises(AccessRevokedError):
        await SERVICE.identify(login.client, credentials)


async def test_the_identity_is_the_principal(login: Login) -> None:
    assert await SERVICE.identify(login.client, login.credentials) == RemoteAccount(
        identity=f"{login.server.url}/{login.username}/", label=f"{login.username} at 127.0.0.1"
    )


async def test_offers_the_address_books_by_name(login: Login) -> None:
    paths = [await login.make_book("friends"), await login.make_book("work")]

    choices = await SERVICE.choices(login.client, login.credentials, "address_book")

    assert choices == [Choice(value=paths[0], label="Friends"), Choice(value=paths[1], label="Work")]
    assert await SERVICE.choices(login.client, login.credentials, "colour") == []


async def test_an_address_book_that_is_gone_says_so(login: Login) -> None:
    await login.make_book("friends")

    with pytest.raises(UnexpectedResponseError, match=r"/gone/ does not exist any more: choose another"):
        await read(login.connector("/gone/"))


async def test_the_sample_address_book_holds_what_it_promises(login: Login) -> None:
    sample = write_vcards(login.server, 1200, seed=7, username=login.username)

    pages = await read(login.connector())

    found = emails(pages)
    keys = [email.lower() for email in found if email]
    invalid = [key for key in keys if not key.startswith("person")]
    assert len(found) == sample.cards == 1200
    assert found.count(None) == sample.without_email == 40
    assert len(invalid) == sample.invalid_email == 20
    assert len(keys) - len(invalid) - len({*keys} - {*invalid}) == sample.duplicates == 15
    assert sample.importable == 1125
    assert [len(page.records) for page in pages] == [100] * 12 + [0]


# Other servers' habits


@pytest.mark.parametrize("prefix", ["d", "", "ns0"])
async def test_namespace_prefixes_do_not_matter(prefix: str) -> None:
    server = Simulator(prefix=prefix)
    server.put("Ann")

    assert emails(await read(server.connector())) == ["ann@example.com"]


@pytest.mark.parametrize("status", [400, 403, 409, 410, 412])
async def test_an_invalid_token_is_known_by_its_element_not_its_status(status: int) -> None:
    server = Simulator(invalid_token_status=status)
    server.put("Ann")
    checkpoint = (await read(server.connector()))[-1].checkpoint
    server.put("Bo")
    server.forgotten = 2

    with pytest.raises(CheckpointExpiredError):
        await read(server.connector(), checkpoint)


@pytest.mark.parametrize(
    "checkpoint",
    [{}, {"token": "x"}, {"version": 2, "sweeping": False, "books": {}}, {"version": 1, "books": [1]}],
)
async def test_a_checkpoint_of_another_version_asks_for_a_full_sweep(checkpoint: dict[str, object]) -> None:
    with pytest.raises(CheckpointExpiredError):
        await read(Simulator().connector(), checkpoint)


async def test_never_asks_for_a_limit_and_always_fetches_cards_by_multiget() -> None:
    server = Simulator()
    for number in range(150):
        server.put(f"P{number:03}")

    pages = await read(server.connector())

    reports = [request for request in server.requests if request.method == "REPORT"]
    assert [server.reported(request) for request in reports] == [
        "sync-collection",
        "addressbook-multiget",
        "addressbook-multiget",
    ]
    assert [b"limit" in request.content for request in reports] == [False, False, False]
    assert [len(page.records) for page in pages] == [100, 50, 0]


async def test_an_idle_cycle_costs_discovery_alone() -> None:
    server = Simulator()
    server.put("Ann")
    checkpoint = (await read(server.connector()))[-1].checkpoint
    server.requests.clear()

    assert await read(server.connector(), checkpoint) == []
    assert [request.method for request in server.requests] == ["PROPFIND"] * 4


async def test_without_sync_collection_entity_tags_tell_what_changed() -> None:
    server = Simulator(syncs=False)
    for name in ("Ann", "Bo", "Cid"):
        server.put(name)
    first = await read(server.connector())
    server.put("Bo")
    server.delete("Cid")

    [page] = await read(server.connector(), first[-1].checkpoint)

    assert ids(first) == [f"{BOOK}Ann.vcf", f"{BOOK}Bo.vcf", f"{BOOK}Cid.vcf"]
    assert ids([page]) == [f"{BOOK}Bo.vcf"]
    assert page.deleted_ids == [f"{BOOK}Cid.vcf"]
    assert await read(server.connector(), page.checkpoint) == []


async def test_removals_in_an_initial_listing_are_nobodys() -> None:
    server = Simulator()
    server.put("Ann")
    server.put("Bo")
    server.delete("Bo")

    pages = await read(server.connector())

    assert ids(pages) == [f"{BOOK}Ann.vcf"]
    assert [list(page.deleted_ids) for page in pages] == [[], []]


async def test_a_truncated_list_is_read_to_its_end() -> None:
    server = Simulator(truncates_at=2)
    for name in ("Ann", "Bo", "Cid", "Dee", "Eve"):
        server.put(name)

    assert len(ids(await read(server.connector()))) == 5


async def test_cards_that_change_while_a_truncated_list_is_read_are_progress_too() -> None:
    server = Simulator(truncates_at=1)
    for name in ("Ann", "Bo", "Cid"):
        server.put(name)
    listings = 0

    def busy_server(request: httpx.Request) -> httpx.Response:
        nonlocal listings
        if request.method == "REPORT" and server.reported(request) == "sync-collection":
            listings += 1
            for name in ("Ann", "Bo") if listings == 3 else ():
                server.put(name)
        return server(request)

    client = httpx.AsyncClient(transport=httpx.MockTransport(busy_server))
    found = emails(await read(CardDav(client, server.credentials, Criteria())))

    assert (found, listings) == (["ann@example.com", "bo@example.com", "cid@example.com"], 5)


async def test_a_list_that_is_truncated_for_ever_fails() -> None:
    server = Simulator(truncates_at=0)
    server.put("Ann")

    with pytest.raises(UnexpectedResponseError, match="truncated again and again"):
        await read(server.connector())

    assert [request.method for request in server.requests].count("REPORT") == 1


async def test_a_refused_token_that_was_never_sent_does_not_start_sweep_after_sweep() -> None:
    server = Simulator()

    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "REPORT":
            return httpx.Response(412, text='<error xmlns="DAV:"><valid-sync-token/></error>')
        return server(request)

    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    with pytest.raises(UnexpectedResponseError, match="412"):
        await read(CardDav(client, server.credentials, Criteria()))


async def test_cards_that_a_server_does_not_hand_out_are_not_taken_for_read() -> None:
    server = Simulator()
    server.put("Ann")

    def handler(request: httpx.Request) -> httpx.Response:
        if b"addressbook-multiget" in request.content:
            return httpx.Response(207, text='<multistatus xmlns="DAV:"/>')
        return server(request)

    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    with pytest.raises(UnexpectedResponseError, match="none of the 1 cards asked for"):
        await read(CardDav(client, server.credentials, Criteria()))


async def test_a_card_removed_between_list_and_fetch_is_left_out() -> None:
    server = Simulator()
    server.put("Ann")
    server.put("Bo")

    def handler(request: httpx.Request) -> httpx.Response:
        if b"addressbook-multiget" in request.content:
            server.delete("Bo")
        return server(request)

    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    pages = await read(CardDav(client, server.credentials, Criteria()))
    [page] = await read(server.connector(), pages[-1].checkpoint)

    assert ids(pages) == [f"{BOOK}Ann.vcf"]
    assert (list(page.records), page.deleted_ids) == ([], [f"{BOOK}Bo.vcf"])


async def test_one_unreadable_card_costs_that_card_alone() -> None:
    server = Simulator()
    server.put("Ann")
    server.put("Bo", "no vCard at all")
    server.put("Cid", vcard("Cid", "NOTE:a\x0bb"))

    pages = await read(server.connector())

    assert ids(pages) == [f"{BOOK}Ann.vcf", f"{BOOK}Bo.vcf", f"{BOOK}Cid.vcf"]
    assert [record.email for page in pages for record in page.records] == [
        "ann@example.com",
        None,
        "cid@example.com",
    ]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://dav.example.com/dav/", "redirect from https to http"),
        ("http://elsewhere.example.net/", "redirect to another host without TLS"),
        ("/.well-known/carddav", "more than 5 redirects"),
    ],
)
async def test_a_redirect_that_leads_astray_is_not_followed(location: str, reason: str) -> None:
    seen: list[httpx.URL] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url)
        return httpx.Response(302, headers={"Location": location})

    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    with pytest.raises(UnexpectedResponseError, match=reason):
        await read(CardDav(client, Simulator().credentials, Criteria()))

    assert {url.scheme for url in seen} == {"https"}


async def test_the_password_goes_along_to_another_host_over_tls() -> None:
    """iCloud keeps the home set on a host of its own."""
    server = Simulator()
    server.put("Ann")

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.host == "dav.example.com":
            return httpx.Response(302, headers={"Location": f"https://p12.example.com{request.url.path}"})
        return server(request)

    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    pages = await read(CardDav(client, server.credentials, Criteria()))

    assert emails(pages) == ["ann@example.com"]
    assert {request.headers["Authorization"][:6] for request in server.requests} == {"Basic "}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("<multistatus xmlns='DAV:'><response>", "not XML: no element found"),
        ("<!DOCTYPE html><html></html>", "document types are not accepted"),
        (
            '<!DOCTYPE m [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><multistatus xmlns="DAV:">&b;</multistatus>',
            "document types are not accepted",
        ),
        ("<html/>", "a DAV: multistatus expected"),
    ],
)
async def test_an_answer_that_is_no_multistatus_gives_the_reason(body: str, reason: str) -> None:
    client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(207, text=body)))

    with pytest.raises(UnexpectedResponseError, match=reason):
        await read(CardDav(client, Simulator().credentials, Criteria()))


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("cloud.example.com", "https://cloud.example.com"),
        (" http://localhost:5232/ann/ ", "http://localhost:5232/ann/"),
        ("https://example.com/dav?x=1#y", "https://example.com/dav"),
    ],
)
def test_an_address_is_completed(typed: str, url: str) -> None:
    assert Credentials.model_validate({"url": typed, "username": "ann", "password": "x"}).url == url


@pytest.mark.parametrize("typed", ["ftp://example.com", f"https://ann:{PASSWORD}@example.com", "", "https://"])
def test_an_address_that_cannot_be_one_is_refused_without_repeating_it(typed: str) -> None:
    with pytest.raises(ValueError, match="must be an http or https address") as raised:
        Credentials.model_validate({"url": typed, "username": "ann", "password": "x"})

    assert PASSWORD not in str(raised.value)


NAMES = [f"P{number:03}" for number in range(230)]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(NAMES)),
        st.tuples(st.just("delete"), st.sampled_from(NAMES)),
        st.tuples(st.just("pages stored before the kill"), st.integers(0, 3)),
    ),
    max_size=12,
)


@settings(max_examples=20, deadline=None)
@given(syncs=st.booleans(), steps=STEPS)
async def test_no_kill_and_no_change_in_between_loses_a_card(syncs: bool, steps: list[tuple[str, str | int]]) -> None:
    server = Simulator(syncs=syncs)
    for name in NAMES:
        server.put(name)
    stored: dict[str, object] = {}
    checkpoint = None
    for step, value in [*steps, ("pages stored before the kill", 99), ("pages stored before the kill", 99)]:
        if step == "put":
            server.put(str(value))
        elif step == "delete":
            server.delete(str(value))
        else:
            pages = server.connector().pages(checkpoint)
            for _ in range(int(value)):
                page = await anext(pages, None)
                if page is None:
                    break
                stored |= {record.external_id: record.values["NOTE"] for record in page.records}
                for deleted in page.deleted_ids:
                    stored.pop(deleted, None)
                checkpoint = json.loads(json.dumps(page.checkpoint))
            await pages.aclose()

    assert stored == {path: card.partition("NOTE:")[2].partition("\r")[0] for path, card in server.cards.items()}
    assert await read(server.connector(), checkpoint) == []


async def test_a_home_without_address_books_is_a_complete_sweep_of_nothing() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        body = f'<multistatus xmlns="DAV:"><response><href>{HOME}</href></response></multistatus>'
        return httpx.Response(207, text=body)

    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    [page] = await read(CardDav(client, Simulator().credentials, Criteria()))

    assert (list(page.records), page.complete, page.remaining) == ([], True, 0)
