"""Google Contacts: sync tokens, tombstones, labels, names that change, and what Google's refusals mean."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from connectors.base import (
    AccessRevokedError,
    Attempt,
    CheckpointExpiredError,
    Choice,
    ConnectorError,
    Page,
    Registration,
    RemoteAccount,
    TransientError,
    UnexpectedResponseError,
)
from connectors.google_contacts.connector import MASK, PARAMETERS, SERVICE, Criteria
from connectors.oauth import NoDetails, Tokens
from tests.connectors.reading import Stored, connect, credentials_of, ids, read, through_json
from tests.connectors.simulators.google_answers import Refused, expired_sync_token, item
from tests.connectors.simulators.google_contacts import GoogleContacts, make
from tests.connectors.simulators.google_oauth import (
    ACCESS_TOKEN,
    CONTACTS_SCOPE,
    EMAIL_SCOPE,
    REFRESH_TOKEN,
    SCOPES,
    GoogleOAuth,
)
from tests.connectors.simulators.kit import CLIENT_ID, CLIENT_SECRET, Fault, open_simulated

LIST = "/v1/people/me/connections"
PROJECT_REFUSED = (
    "Google refuses this server's Google Cloud project ({}), whoever connects: the operator of this server should put"
    " the project right."
)
REGISTRATION = Registration(client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET))


def listings(google: GoogleContacts) -> list[httpx.QueryParams]:
    """The parameters of every request for contacts."""
    return [each.url.params for each in google.traffic.exchanges if each.url.path == LIST]


def tokens_of(google: GoogleContacts) -> list[tuple[bool, bool]]:
    """Of every request for contacts, whether it had a sync token and a page token."""
    return [("syncToken" in asked, "pageToken" in asked) for asked in listings(google)]


def emails(pages: list[Page]) -> list[str | None]:
    return [record.email for page in pages for record in page.records]


def labelled(*groups: str, people: int = 0) -> GoogleContacts:
    """An account of which these groups are imported."""
    google = make(people)
    google.criteria = {"groups": list(groups)}
    return google


def before_requests(google: GoogleContacts, *happenings: Callable[[], None] | None) -> None:
    """What happens before the first request from now on, the second …"""
    left = iter(happenings)

    def happen() -> None:
        happening = next(left, None)
        if happening is not None:
            happening()

    google.traffic.meanwhile = happen


async def checkpoint_after(google: GoogleContacts) -> dict[str, Any]:
    return through_json((await read(google))[-1].checkpoint)


# Reading


async def test_every_request_has_the_same_parameters_but_for_the_tokens() -> None:
    google = make(5)
    google.page_size = 2
    checkpoint = await checkpoint_after(google)
    google.add("new@example.com")
    await read(google, checkpoint)

    fixed = [
        {name: asked[name] for name in asked if name not in {"syncToken", "pageToken"}} for asked in listings(google)
    ]
    assert fixed == [PARAMETERS] * 4
    assert tokens_of(google) == [(False, False), (False, True), (False, True), (True, False)]


async def test_later_only_what_changed_is_read() -> None:
    google = make(3)
    checkpoint = await checkpoint_after(google)
    first, second, _ = google.contacts
    google.change(first)
    google.remove(second)
    google.add("new@example.com")

    [page] = await read(google, checkpoint)

    assert emails([page]) == ["person-0@example.com", "new@example.com"]
    assert page.deleted_ids == [second]
    assert (page.sweep, page.complete, page.remaining) == (False, False, None)
    [quiet] = await read(google, through_json(page.checkpoint))
    assert (quiet.records, quiet.deleted_ids) == ([], [])


async def test_the_sync_token_is_kept_with_the_last_page_alone() -> None:
    google = make(5)
    google.page_size = 2

    pages = await read(google)

    assert [page.checkpoint["sync_token"] is None for page in pages] == [True, True, False]
    assert [page.checkpoint["page_token"] is None for page in pages] == [False, False, True]
    assert [page.checkpoint["mask"] for page in pages] == [MASK] * 3


async def test_how_many_are_left_is_told_where_google_tells_it() -> None:
    google = make(5)
    google.page_size = 2

    assert [page.remaining for page in await read(google)] == [3, 1, 0]
    google.counts = False
    assert [page.remaining for page in await read(google)] == [None, None, 0]


async def test_whatever_is_written_while_it_is_read_comes_in_this_pass_or_the_next() -> None:
    google, stored = make(6), Stored()
    google.page_size = 2
    first, second, *_ = google.contacts
    before_requests(google, None, lambda: google.change(first), lambda: google.remove(second))

    await stored.cycle(google)
    await stored.cycle(google)

    assert {id_: record.email for id_, record in stored.records.items()} == google.matching()
    assert stored.records[first].values["nicknames"] == "Nick 6"


async def test_what_google_shows_late_comes_late() -> None:
    google, stored = make(1), Stored()
    await stored.cycle(google)
    google.lags = True
    google.add("late@example.com")

    assert emails(await stored.cycle(google)) == []
    google.settle()
    assert emails(await stored.cycle(google)) == ["late@example.com"]


async def test_items_in_another_order_are_no_change() -> None:
    google = make(0)
    numbers = [{"value": str(number)} for number in range(9)]
    addresses = [item(value="ann@example.com"), *({"value": f"{number}@example.com"} for number in range(9))]
    google.add("ann@example.com", emailAddresses=addresses, phoneNumbers=numbers)
    [before] = await read(google)
    google.shuffles = True

    for _ in range(5):
        [after] = await read(google)
        assert after.records == before.records


async def test_the_profiles_of_others_are_not_asked_for() -> None:
    google = make(0)
    contact = google.contacts[google.add("mine@example.com")]
    contact.profile_email = "theirs@example.com"

    assert emails(await read(google)) == ["mine@example.com"]


async def test_without_sync_tokens_everybody_is_read_in_each_cycle() -> None:
    google, stored = make(2), Stored()
    google.sync_tokens = False
    for _ in range(3):
        pages = await stored.cycle(google)
        assert [(len(page.records), page.sweep, page.complete) for page in pages] == [(2, True, True)]

    assert tokens_of(google) == [(False, False)] * 3


async def test_changes_without_a_new_sync_token_are_read_again_from_the_old_one() -> None:
    google, stored = make(2), Stored()
    await stored.cycle(google)
    google.sync_tokens = False
    google.add("new@example.com")

    for _ in range(2):
        assert emails(await stored.cycle(google)) == ["new@example.com"]
    assert tokens_of(google) == [(False, False), (True, False), (True, False)]


async def test_an_empty_address_book_is_read_to_its_end() -> None:
    [page] = await read(make(0))

    assert (page.records, page.complete, page.remaining) == ([], True, 0)


# Tokens that Google has forgotten


def bare(status: int, message: str, *reasons: str) -> Callable[[], Refused]:
    return lambda: Refused(status, "INVALID_ARGUMENT", message, *reasons)


@pytest.mark.parametrize(
    "expiry",
    [
        pytest.param(expired_sync_token, id="400 and the reason"),
        pytest.param(lambda: expired_sync_token(410), id="410 and the reason"),
        pytest.param(lambda: expired_sync_token(kind="FAILED_PRECONDITION"), id="another status text"),
        pytest.param(bare(400, "Zu alt.", "EXPIRED_SYNC_TOKEN"), id="the reason alone"),
        pytest.param(bare(400, "Sync token is expired. Clear local cache and retry."), id="400 and the message alone"),
        pytest.param(bare(410, "The sync token is expired."), id="410 and the message alone"),
    ],
)
async def test_a_sync_token_of_more_than_a_week_ago_asks_for_one_full_reading(expiry: Callable[[], Refused]) -> None:
    google, stored = make(3), Stored()
    google.expiry = expiry
    await stored.cycle(google)
    google.expire_checkpoints()
    google.traffic.exchanges.clear()

    with pytest.raises(CheckpointExpiredError, match=r"^Google has forgotten the sync token\.$"):
        await read(google, stored.checkpoint)
    await stored.cycle(google)
    await stored.cycle(google)

    assert tokens_of(google) == [(True, False), (True, False), (False, False), (True, False)]


@pytest.mark.parametrize(
    "refused",
    [
        Refused(400, "INVALID_ARGUMENT", 'Invalid personFields mask path: "shoes".'),
        Refused(400, "FAILED_PRECONDITION", "Precondition check failed.", "FAILED"),
        Refused(410, "GONE", "Gone."),
    ],
)
async def test_any_other_400_is_a_failure_and_starts_nothing_over(refused: Refused) -> None:
    google = make(1)
    checkpoint = await checkpoint_after(google)
    google.traffic.faults.append(Fault(status=refused.response.status_code, body=bytes(refused.response.body)))

    with pytest.raises(UnexpectedResponseError, match=str(refused).rstrip(".")):
        await read(google, checkpoint)
    assert len(listings(google)) == 2


async def test_a_forgotten_page_of_a_sweep_begins_the_sweep_again() -> None:
    google, stored = make(5), Stored()
    google.page_size = 2
    first, *_ = await read(google)
    stored.store(first)
    google.expire_checkpoints()
    google.traffic.exchanges.clear()

    pages = await stored.cycle(google)

    assert tokens_of(google) == [(False, True), (False, False), (False, True), (False, True)]
    assert [page.complete for page in pages] == [False, False, True]
    assert stored.records.keys() == google.contacts.keys()


async def test_a_forgotten_page_of_changes_begins_the_changes_again_from_the_same_sync_token() -> None:
    google = make(0)
    google.page_size = 2
    checkpoint = await checkpoint_after(google)
    for number in range(5):
        google.add(f"new-{number}@example.com")
    [page, *_] = await read(google, checkpoint)
    refused = {"error": {"code": 400, "message": "Invalid page token.", "status": "INVALID_ARGUMENT"}}
    google.traffic.faults.append(Fault(status=400, body=json.dumps(refused).encode()))
    google.traffic.exchanges.clear()

    pages = await read(google, through_json(page.checkpoint))

    assert tokens_of(google) == [(True, True), (True, False), (True, True), (True, True)]
    assert emails(pages) == [f"new-{number}@example.com" for number in range(5)]


async def test_a_page_that_is_refused_twice_fails_the_run() -> None:
    google = make(5)
    google.page_size = 2
    [page, *_] = await read(google)
    google.traffic.faults.extend([Fault(status=400), Fault(status=400)])
    google.traffic.exchanges.clear()

    with pytest.raises(UnexpectedResponseError):
        await read(google, through_json(page.checkpoint))
    assert tokens_of(google) == [(False, True), (False, False)]


async def test_a_page_that_google_named_just_now_is_not_begun_again() -> None:
    google = make(5)
    google.page_size = 2
    google.traffic.faults.extend([None, Fault(status=400)])

    with pytest.raises(UnexpectedResponseError):
        await read(google)
    assert tokens_of(google) == [(False, False), (False, True)]


async def test_a_sync_token_that_expires_on_the_second_page_asks_for_a_full_reading_too() -> None:
    google = make(0)
    google.page_size = 2
    checkpoint = await checkpoint_after(google)
    for number in range(3):
        google.add(f"new-{number}@example.com")
    google.traffic.faults.extend([None, Fault(status=400, body=bytes(expired_sync_token().response.body))])

    with pytest.raises(CheckpointExpiredError):
        await read(google, checkpoint)


@pytest.mark.parametrize(
    "change", [{"mask": "0" * 16}, {"version": 2}, {"page_token": 7}, {"gone": ["x"]}, {"mask": None}]
)
async def test_a_checkpoint_of_another_version_or_another_mask_has_expired(change: dict[str, Any]) -> None:
    google = make(1)
    checkpoint = {**await checkpoint_after(google), **change}
    google.traffic.exchanges.clear()

    with pytest.raises(CheckpointExpiredError, match="the checkpoint is from"):
        await read(google, checkpoint)
    assert google.traffic.exchanges == []


async def test_google_refuses_a_sync_token_under_other_parameters_which_is_why_the_mask_is_kept() -> None:
    google = make(1)
    checkpoint = await checkpoint_after(google)
    client = open_simulated(google)
    asked = {**PARAMETERS, "syncToken": checkpoint["sync_token"], "personFields": "names"}

    answer = await client.get(f"https://people.googleapis.com{LIST}", params=asked, headers=authorized())

    assert answer.status_code == 400


def authorized(token: str = ACCESS_TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"personFields": "shoes"},
        {"personFields": "names", "pageSize": "1001"},
        {"personFields": "names", "page_size": "10"},
        {"personFields": "names", "sources": "CONTACT"},
        {"personFields": "names", "pageToken": "nonsense"},
        {"personFields": "names", "syncToken": "nonsense"},
    ],
)
async def test_the_simulator_refuses_what_google_refuses(asked: dict[str, str]) -> None:
    answer = await open_simulated(make(1)).get(
        f"https://people.googleapis.com{LIST}", params=asked, headers=authorized()
    )

    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


async def test_a_page_that_comes_again_ends_the_reading() -> None:
    google = make(5)
    google.page_size = 2
    google.traffic.replays = True

    with pytest.raises(UnexpectedResponseError, match="the same page again"):
        await read(google)
    assert len(listings(google)) == 2


async def test_pages_without_end_are_left() -> None:
    number = iter(range(5000))

    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"nextPageToken": f"page {next(number)}"})

    connector = connect(make(0), httpx.AsyncClient(transport=httpx.MockTransport(handler)))
    with pytest.raises(UnexpectedResponseError, match="more than 1000 pages"):
        _ = [page async for page in connector.pages(None)]
    assert next(number) == 1001


# Deletions, names that change, merges


@pytest.mark.parametrize("bare_tombstones", [False, True])
async def test_a_tombstone_deletes_whether_or_not_it_names_its_source(bare_tombstones: bool) -> None:
    google = make(2)
    google.bare_tombstones = bare_tombstones
    checkpoint = await checkpoint_after(google)
    first, _ = google.contacts
    google.remove(first)

    [page] = await read(google, checkpoint)

    assert page.deleted_ids == [first]


async def test_tombstones_come_with_the_last_page_and_survive_a_restart_before_it() -> None:
    google = make(5)
    google.page_size = 2
    checkpoint = await checkpoint_after(google)
    first, second, third, fourth, _ = google.contacts
    for each in (first, second, third):
        google.remove(each)
    google.change(fourth)

    pages = await read(google, checkpoint)
    rest = await read(google, through_json(pages[0].checkpoint))

    assert [list(page.deleted_ids) for page in pages] == [[], [first, second, third]]
    assert [list(page.deleted_ids) for page in rest] == [[first, second, third]]


@pytest.mark.parametrize("page_size", [1, 500])
@pytest.mark.parametrize("names_leave_tombstones", [False, True])
async def test_somebody_whose_resource_name_changes_stays_the_same_record(
    names_leave_tombstones: bool, page_size: int
) -> None:
    google = make(2)
    google.names_leave_tombstones, google.page_size = names_leave_tombstones, page_size
    checkpoint = await checkpoint_after(google)
    first, second = google.contacts
    google.rename(first, "people/104892345678901234568")
    google.change(first, emailAddresses=[item(value="linked@example.com")])
    google.change(second)

    pages = await read(google, checkpoint)

    assert [(record.external_id, record.email) for page in pages for record in page.records] == [
        (first, "linked@example.com"),
        (second, "person-1@example.com"),
    ]
    assert [gone for page in pages for gone in page.deleted_ids] == []
    assert first in ids(await read(google))


@pytest.mark.parametrize("names_leave_tombstones", [False, True])
async def test_somebody_renamed_and_then_deleted_while_it_is_read_is_deleted(names_leave_tombstones: bool) -> None:
    google = make(2)
    google.names_leave_tombstones, google.page_size = names_leave_tombstones, 1
    checkpoint = await checkpoint_after(google)
    first, second = google.contacts
    google.rename(first, "people/104892345678901234568")
    google.change(second)
    before_requests(google, *[None] * (1 + names_leave_tombstones), lambda: google.remove(first))

    pages = await read(google, checkpoint)

    assert ids(pages) == [first, second]
    assert [gone for page in pages for gone in page.deleted_ids] == [first]


async def test_somebody_restored_while_a_pass_is_read_is_not_told_as_deleted() -> None:
    google = make(2)
    google.page_size = 1
    checkpoint = await checkpoint_after(google)
    first, second = google.contacts
    google.remove(first)
    google.change(second)
    before_requests(google, None, lambda: google.restore(first))

    pages = await read(google, checkpoint)

    assert [(ids([page]), list(page.deleted_ids)) for page in pages] == [([], []), ([second], []), ([first], [])]


async def test_the_tombstone_of_an_old_name_deletes_nobody_in_a_later_pass_either() -> None:
    google, stored = make(2), Stored()
    await stored.cycle(google)
    first, _ = google.contacts
    old_name = google.contacts[first].resource_name
    google.rename(first, "people/104892345678901234568")
    await stored.cycle(google)
    google.change(first, nicknames=[item(value="Annie", type="DEFAULT")])
    await stored.cycle(google)
    google.bury(old_name, first)

    [page] = await stored.cycle(google)

    assert (ids([page]), list(page.deleted_ids)) == ([], [])
    google.remove(first)
    [page] = await stored.cycle(google)
    assert list(page.deleted_ids) == [first]


async def test_the_tombstone_of_an_old_name_deletes_nobody_in_a_pass_that_begins_again_either() -> None:
    google, stored = make(2), Stored()
    google.page_size = 1
    await stored.cycle(google)
    first, second = google.contacts
    old_name = google.contacts[first].resource_name
    google.rename(first, "people/104892345678901234568")
    await stored.cycle(google)
    google.change(second)
    google.bury(old_name, first)
    await stored.cycle(google, limit=1)
    google.traffic.faults.append(Fault(status=400))

    pages = await stored.cycle(google)

    assert tokens_of(google)[-3:] == [(True, True), (True, False), (True, True)]
    assert [(ids([page]), list(page.deleted_ids)) for page in pages] == [([second], []), ([], [])]


async def test_somebody_deleted_under_a_name_that_google_gave_without_the_one_before_is_deleted() -> None:
    google, stored = make(1), Stored()
    await stored.cycle(google)
    [only] = google.contacts
    for resource_name in ("people/104892345678901234568", "people/104892345678901234569"):
        google.rename(only, resource_name)
        await stored.cycle(google)
        google.contacts[only].previous_names.clear()
    google.contacts[only].resource_name = "people/104892345678901234570"
    google.change(only)
    await stored.cycle(google)
    google.remove(only)

    [page] = await stored.cycle(google)

    assert list(page.deleted_ids) == [only]


async def test_new_names_are_remembered_from_pass_to_pass_of_those_who_got_one_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("connectors.google_contacts.connector.MOST_RENAMED", 2)
    google, stored = make(3), Stored()
    await stored.cycle(google)
    for place, each in enumerate(google.contacts):
        google.rename(each, f"people/1048923456789012345{place}")
        await stored.cycle(google)
    _, second, third = google.contacts
    google.change(second)
    await stored.cycle(google)

    assert stored.checkpoint is not None
    assert [*stored.checkpoint["renamed"]] == [third, second]


async def test_of_two_that_are_merged_one_stays_and_has_both_addresses() -> None:
    google = make(3)
    checkpoint = await checkpoint_after(google)
    first, second, _ = google.contacts
    google.merge(first, second)

    [page] = await read(google, checkpoint)

    assert [(record.external_id, record.email) for record in page.records] == [(first, "person-0@example.com")]
    assert page.records[0].values["emailAddresses"] == "person-1@example.com"
    assert page.deleted_ids == [second]


# Labels


async def test_only_those_with_a_chosen_label_are_imported() -> None:
    google = labelled("contactGroups/customers", "contactGroups/starred", people=4)
    first, second, third, _ = google.contacts
    google.label(first, "contactGroups/customers", "contactGroups/myContacts")
    google.label(second, "contactGroups/starred")
    google.label(third, "contactGroups/other")

    assert ids(await read(google)) == [first, second]


async def test_whoever_loses_the_label_is_neither_read_nor_deleted() -> None:
    google = labelled("contactGroups/customers", people=2)
    first, second = google.contacts
    google.label(first, "contactGroups/customers")
    checkpoint = await checkpoint_after(google)
    google.label(first)
    google.label(second, "contactGroups/customers")

    [page] = await read(google, checkpoint)

    assert ids([page]) == [second]
    assert page.deleted_ids == []


async def test_a_full_reading_of_labels_is_no_sweep_because_it_cannot_tell_leaving_from_deletion() -> None:
    google = labelled("contactGroups/myContacts", people=3)
    google.page_size = 2

    pages = await read(google)

    assert len(ids(pages)) == 3
    assert [(page.sweep, page.complete, page.remaining) for page in pages] == [(False, False, None)] * 2


async def test_a_tombstone_of_somebody_without_the_label_is_told_too() -> None:
    google = labelled("contactGroups/customers", people=1)
    checkpoint = await checkpoint_after(google)
    [only] = google.contacts
    google.remove(only)

    [page] = await read(google, checkpoint)

    assert page.deleted_ids == [only]


async def test_a_label_that_is_gone_says_so_once_none_of_the_chosen_is_left() -> None:
    google = labelled("contactGroups/customers", "contactGroups/gone", people=1)
    assert await read(google) != []
    del google.groups["contactGroups/customers"]

    with pytest.raises(UnexpectedResponseError, match=r"^None of the chosen labels exists: choose others\.$"):
        await read(google)


async def test_offers_the_labels_and_the_system_groups_that_are_in_use() -> None:
    google = make(0)
    google.groups["contactGroups/vip"] = "VIP"
    google.page_size = 3

    offered = await SERVICE.choices(open_simulated(google), credentials_of(google), "groups")

    assert offered == [
        Choice(value="contactGroups/myContacts", label="My Contacts"),
        Choice(value="contactGroups/starred", label="Starred"),
        Choice(value="contactGroups/customers", label="Customers"),
        Choice(value="contactGroups/vip", label="VIP"),
    ]
    assert await SERVICE.choices(open_simulated(google), credentials_of(google), "colour") == []


@pytest.mark.parametrize("groups", [["customers"], ["contactGroups/"], ["contactGroups/a/b"], "contactGroups/a", [""]])
def test_what_is_no_name_of_a_group_is_refused(groups: object) -> None:
    with pytest.raises(ValidationError):
        Criteria.model_validate({"groups": groups})


# Who it is, and what Google's refusals mean


async def test_the_identity_is_the_account_and_the_label_its_address() -> None:
    google = make(1)

    found = await SERVICE.identify(open_simulated(google), credentials_of(google))

    assert found == RemoteAccount(identity="people/104892345678901234567", label="owner@example.com")


def refused(code: int, status: str, *reasons: str, listed_as: str = "details") -> Fault:
    body = Refused(code, status, "No.", *reasons, listed_as=listed_as).response.body
    return Fault(status=code, body=bytes(body))


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (refused(401, "UNAUTHENTICATED"), AccessRevokedError, f"GET https://people.googleapis.com{LIST}: 401 No."),
        (refused(429, "RESOURCE_EXHAUSTED"), TransientError, f"GET https://people.googleapis.com{LIST}: 429 No."),
        (refused(403, "PERMISSION_DENIED", "rateLimitExceeded", listed_as="errors"), TransientError, None),
        (refused(403, "PERMISSION_DENIED", "userRateLimitExceeded", listed_as="errors"), TransientError, None),
        (refused(403, "PERMISSION_DENIED", "dailyLimitExceeded", listed_as="errors"), TransientError, None),
        (refused(403, "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED"), TransientError, None),
        (refused(403, "RESOURCE_EXHAUSTED", "RESOURCE_QUOTA_EXCEEDED"), TransientError, None),
        (
            refused(403, "PERMISSION_DENIED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
            AccessRevokedError,
            "Google was not told to let us see the contacts: every box on its page must stay ticked.",
        ),
        (refused(403, "PERMISSION_DENIED", "insufficientPermissions", listed_as="errors"), AccessRevokedError, None),
        (
            refused(403, "PERMISSION_DENIED", "SERVICE_DISABLED"),
            UnexpectedResponseError,
            "The operator of this server should enable the People API in its Google Cloud project.",
        ),
        (refused(403, "PERMISSION_DENIED", "accessNotConfigured", listed_as="errors"), UnexpectedResponseError, None),
        *(
            (refused(403, "PERMISSION_DENIED", reason), UnexpectedResponseError, PROJECT_REFUSED.format(reason))
            for reason in ("BILLING_DISABLED", "CONSUMER_SUSPENDED", "CONSUMER_INVALID", "USER_PROJECT_DENIED")
        ),
        (refused(403, "PERMISSION_DENIED"), AccessRevokedError, f"GET https://people.googleapis.com{LIST}: 403 No."),
        (Fault(status=403, body=b"<html>Sorry</html>"), AccessRevokedError, None),
        (refused(500, "INTERNAL"), TransientError, None),
        (refused(503, "UNAVAILABLE"), TransientError, None),
        (refused(404, "NOT_FOUND"), UnexpectedResponseError, None),
        (Fault(status=400, body=b'{"error": "a text"}'), UnexpectedResponseError, None),
        (Fault(status=200, body=b"{}"), UnexpectedResponseError, None),
        (Fault(status=200, body=b"[]"), UnexpectedResponseError, None),
        (Fault(status=302, headers={"Location": "https://accounts.google.com/"}), UnexpectedResponseError, None),
    ],
)
async def test_what_a_refusal_means(answer: Fault, error: type[ConnectorError], message: str | None) -> None:
    google = make(1)
    google.traffic.faults.append(answer)

    with pytest.raises(ConnectorError) as raised:
        await read(google)

    assert type(raised.value) is error
    assert message in {None, str(raised.value)}


async def test_a_busy_google_is_waited_for_as_long_as_it_asks_even_under_403() -> None:
    google = make(1)
    busy = refused(403, "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED")
    google.traffic.faults.append(Fault(status=403, body=busy.body, headers={"Retry-After": "17"}))

    with pytest.raises(TransientError) as raised:
        await read(google)

    assert raised.value.retry_after == timedelta(seconds=17)


async def test_a_person_of_another_shape_is_named_by_its_place_not_by_its_value() -> None:
    google = make(0)
    body = {"connections": [{"resourceName": "people/c1", "names": [{"givenName": ["s3cret"]}]}], "nextSyncToken": "t"}
    google.traffic.faults.append(Fault(status=200, body=json.dumps(body).encode()))

    with pytest.raises(UnexpectedResponseError, match=r"connections\.0\.names\.0\.givenName") as raised:
        await read(google)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("granted", [SCOPES - {CONTACTS_SCOPE}, SCOPES - {EMAIL_SCOPE}])
async def test_a_box_that_the_user_unticked_is_noticed_when_connecting(granted: frozenset[str]) -> None:
    google = make(1)
    google.oauth.access_tokens[ACCESS_TOKEN] = granted

    with pytest.raises(AccessRevokedError, match="every box on its page must stay ticked"):
        await SERVICE.identify(open_simulated(google), credentials_of(google))


async def test_an_api_that_the_operator_did_not_enable_is_noticed_when_connecting_and_blames_no_user() -> None:
    google = make(1)
    google.enabled = False

    with pytest.raises(UnexpectedResponseError, match="enable the People API"):
        await SERVICE.identify(open_simulated(google), credentials_of(google))


async def test_an_access_token_that_ends_in_mid_run_is_renewed_and_the_rest_comes() -> None:
    google, stored = make(5), Stored()
    google.page_size = 2
    before_requests(google, None, google.oauth.access_tokens.clear)
    with pytest.raises(AccessRevokedError):
        await stored.cycle(google)
    assert len(stored.records) == 2

    authorization = SERVICE.authorization
    assert authorization is not None
    assert authorization.renew is not None
    renewed = await authorization.renew(open_simulated(google), REGISTRATION, credentials_of(google))
    assert isinstance(renewed, Tokens)
    google.credentials = {"access_token": renewed.access_token.get_secret_value()}
    await stored.cycle(google)

    assert stored.records.keys() == google.contacts.keys()
    assert renewed.refresh_token == SecretStr(REFRESH_TOKEN)


# Consent and its end


def attempt() -> Attempt:
    return Attempt(
        registration=REGISTRATION,
        details=NoDetails(),
        redirect_uri="https://sluice.example.com/oauth/callback",
        state="the-state",
        verifier="v" * 43,
    )


async def consent(google: GoogleContacts) -> dict[str, str]:
    """What comes back from Google's page."""
    assert SERVICE.authorization is not None
    answer = await open_simulated(google).get(SERVICE.authorization.start(attempt()))
    assert answer.status_code == 302
    back = httpx.URL(answer.headers["Location"])
    assert str(back.copy_with(query=None)) == "https://sluice.example.com/oauth/callback"
    return dict(back.params)


async def connected(google: GoogleContacts) -> Tokens:
    assert SERVICE.authorization is not None
    answer = await consent(google)
    credentials = await SERVICE.authorization.finish(open_simulated(google), attempt(), answer)
    assert isinstance(credentials, Tokens)
    return credentials


def test_the_page_of_google_is_asked_for_lasting_access_to_read_contacts() -> None:
    assert SERVICE.authorization is not None
    url = httpx.URL(SERVICE.authorization.start(attempt()))

    assert str(url.copy_with(query=None)) == "https://accounts.google.com/o/oauth2/v2/auth"
    assert dict(url.params) == {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": "https://sluice.example.com/oauth/callback",
        "scope": f"openid {EMAIL_SCOPE} {CONTACTS_SCOPE}",
        "state": "the-state",
        "code_challenge": url.params["code_challenge"],
        "code_challenge_method": "S256",
        "access_type": "offline",
        "prompt": "consent",
    }
    assert SERVICE.form is None


async def test_a_second_consent_brings_lasting_access_again() -> None:
    google = make(1)

    for _ in range(2):
        before, life = datetime.now(UTC), timedelta(seconds=3599)
        credentials = await connected(google)
        assert credentials.refresh_token is not None
        assert credentials.expires_at is not None
        assert before + life <= credentials.expires_at <= datetime.now(UTC) + life
        found = await SERVICE.identify(open_simulated(google), credentials)
        assert found.label == "owner@example.com"


async def test_a_user_who_declines_is_told_so() -> None:
    google = make(1)
    google.oauth = GoogleOAuth(agrees=False)
    google.__post_init__()

    with pytest.raises(AccessRevokedError, match="declined"):
        await connected(google)


async def test_disconnecting_ends_the_consent_at_google() -> None:
    google = make(1)
    credentials = await connected(google)
    assert SERVICE.revoke is not None

    await SERVICE.revoke(open_simulated(google), REGISTRATION, credentials)

    assert (google.oauth.access_tokens, google.oauth.refresh_tokens) == ({}, {})
    asked = google.traffic.exchanges[-1]
    assert str(asked.url) == "https://oauth2.googleapis.com/revoke"
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert credentials.refresh_token is not None
    assert dict(parse_qsl(asked.body.decode())) == {"token": credentials.refresh_token.get_secret_value()}
    # It had ended already: that is no failure.
    await SERVICE.revoke(open_simulated(google), REGISTRATION, credentials)
    with pytest.raises(AccessRevokedError):
        await SERVICE.identify(open_simulated(google), credentials)


async def test_access_without_a_refresh_token_is_given_back_too() -> None:
    google = make(1)
    assert SERVICE.revoke is not None

    await SERVICE.revoke(open_simulated(google), None, Tokens(access_token=SecretStr(ACCESS_TOKEN)))

    assert google.oauth.access_tokens == {}


async def test_a_google_that_cannot_revoke_now_is_asked_again_later() -> None:
    google = make(1)
    google.traffic.faults.append(Fault(status=503))
    assert SERVICE.revoke is not None

    with pytest.raises(TransientError):
        await SERVICE.revoke(open_simulated(google), REGISTRATION, credentials_of(google))


# What it costs


async def test_a_thousand_contacts_cost_two_requests_and_an_idle_cycle_one() -> None:
    google, stored = make(1000), Stored()

    await stored.cycle(google)
    assert len(google.traffic.exchanges) == 2
    await stored.cycle(google)
    assert len(google.traffic.exchanges) == 3


async def test_with_labels_one_more_request_a_cycle_looks_whether_they_are_still_there() -> None:
    google, stored = labelled("contactGroups/myContacts", people=1000), Stored()

    await stored.cycle(google)
    assert len(google.traffic.exchanges) == 3
    await stored.cycle(google)
    assert len(google.traffic.exchanges) == 5
