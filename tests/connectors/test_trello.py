import logging
import traceback
from datetime import timedelta

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from connectors.base import (
    AccessRevokedError,
    Attempt,
    Choice,
    ConnectorError,
    Registration,
    RemoteAccount,
    TransientError,
    UnexpectedResponseError,
)
from connectors.trello.api import Credentials
from connectors.trello.connector import NOTICE, SERVICE, Criteria
from domain.records import Record, SourceConsent
from tests.connectors.reading import Stored, credentials_of, ids, read, through_json
from tests.connectors.simulators.kit import CLIENT_ID, CLIENT_SECRET, Fault, open_simulated
from tests.connectors.simulators.trello import (
    BOARD,
    ME,
    OTHER_WORKSPACE,
    PRIVATE_BOARD,
    TOKEN,
    WORKSPACE,
    Board,
    TrelloApi,
    make,
)

REGISTRATION = Registration(client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET))
CALLBACK = "https://sluice.example.com/oauth/callback"
ORDINARY_CYCLE = ["/1/members/me/organizations", "/1/members/me/boards", "/1/batch"]


def asked(trello: TrelloApi) -> list[str]:
    return [each.url.path for each in trello.traffic.exchanges]


def attempt() -> Attempt:
    flow = SERVICE.authorization
    assert flow is not None
    return Attempt(
        registration=REGISTRATION, details=flow.details(), redirect_uri=CALLBACK, state="the-state", verifier="v" * 43
    )


async def records(trello: TrelloApi) -> list[Record]:
    return [record for page in await read(trello) for record in page.records]


# Records


async def test_a_member_is_read_with_every_field() -> None:
    trello = TrelloApi()
    id_ = trello.add("ann.lee@example.com")
    trello.people[id_].places[WORKSPACE] = "admin"

    assert await records(trello) == [
        Record(
            external_id=id_,
            email="ann.lee@example.com",
            first_name="Ann",
            last_name="Lee",
            consent=SourceConsent.NOT_TRACKED,
            values={
                "username": "annlee",
                "initials": "AL",
                "avatarUrl": f"https://trello-members.s3.amazonaws.com/{id_}/0123456789abcdef",
                "memberType": ("admin",),
                "workspaces": ("Acme",),
                "boards": ("Roadmap",),
                "confirmed": True,
                "deactivated": False,
            },
        )
    ]


async def test_fields_have_their_types() -> None:
    pages = await read(make(1))

    assert {key: str(spec.type) for page in pages for key, spec in page.fields.items()} == {
        "username": "TEXT",
        "initials": "TEXT",
        "avatarUrl": "URL",
        "memberType": "MULTISELECT",
        "workspaces": "MULTISELECT",
        "boards": "MULTISELECT",
        "confirmed": "BOOLEAN",
        "deactivated": "BOOLEAN",
    }


async def test_a_member_without_a_visible_address_is_read_without_one() -> None:
    trello = TrelloApi()
    trello.people[trello.add("ann@example.com")].shown = False

    [record] = await records(trello)

    assert (record.email, record.first_name, record.values["username"]) == (None, "Ann", "annexample")


async def test_users_are_told_of_missing_addresses_before_they_create_an_import() -> None:
    assert SERVICE.notice == NOTICE
    assert "skipped (NO_EMAIL)" in NOTICE


async def test_the_address_of_a_managed_account_is_used() -> None:
    trello = TrelloApi()
    trello.people[trello.add("ann@example.com")].managed = True

    [record] = await records(trello)

    assert record.email == "ann@example.com"


async def test_fields_that_trello_does_not_send_are_absent_and_change_nothing() -> None:
    trello = make(1)
    trello.ignores_member_fields = True

    [record] = await records(trello)

    assert record.email is None
    assert "avatarUrl" not in record.values
    assert record.values["username"] == "person0"


async def test_nulls_that_trello_may_send_are_empty_values() -> None:
    trello = TrelloApi(sends_nulls=True, criteria={"boards": [PRIVATE_BOARD]})
    trello.people[trello.add("ann@example.com", places=[PRIVATE_BOARD])].shown = False

    [record] = await records(trello)

    assert (record.email, record.values["avatarUrl"], record.values["workspaces"]) == (None, None, None)


async def test_memberships_without_members_are_records_of_their_ids() -> None:
    trello = make(1)
    trello.nests_no_members = True

    [record] = await records(trello)

    assert (record.external_id, record.email, record.first_name) == (*trello.people, None, None)
    assert {*record.values} == {"memberType", "workspaces", "boards", "confirmed", "deactivated"}


async def test_several_memberships_are_one_record() -> None:
    trello = TrelloApi(criteria={})
    id_ = trello.add("ann@example.com", places=[WORKSPACE, OTHER_WORKSPACE, BOARD])
    trello.people[id_].places[OTHER_WORKSPACE] = "admin"

    [record] = await records(trello)

    assert record.values["workspaces"] == ("Acme", "Bowling club")
    assert record.values["memberType"] == ("admin", "normal")


async def test_who_has_not_accepted_the_invitation_is_not_confirmed() -> None:
    trello = make(2)
    trello.people[next(iter(trello.people))].unconfirmed = True

    assert [record.values["confirmed"] for record in await records(trello)] == [False, True]


# Criteria


async def test_without_a_choice_all_workspaces_are_read_and_no_guests_of_boards() -> None:
    trello = TrelloApi(criteria={})
    staff = trello.add("staff@example.com")
    bowler = trello.add("bowler@example.com", places=[OTHER_WORKSPACE])
    trello.add("guest@example.com", places=[BOARD])
    trello.add("gardener@example.com", places=[PRIVATE_BOARD])

    assert [record.external_id for record in await records(trello)] == [staff, bowler]


async def test_a_chosen_board_brings_its_guests() -> None:
    trello = TrelloApi(criteria={"workspaces": [OTHER_WORKSPACE], "boards": [BOARD, PRIVATE_BOARD]})
    trello.add("staff@example.com", places=[WORKSPACE])
    bowler = trello.add("bowler@example.com", places=[OTHER_WORKSPACE])
    guest = trello.add("guest@example.com", places=[BOARD])
    gardener = trello.add("gardener@example.com", places=[PRIVATE_BOARD, BOARD])

    assert {record.external_id: record.values["boards"] for record in await records(trello)} == {
        bowler: None,
        guest: ("Roadmap",),
        gardener: ("Garden", "Roadmap"),
    }


@pytest.mark.parametrize(("wanted", "expected"), [(False, [1, 2]), (True, [0, 1, 2])])
async def test_who_is_deactivated_everywhere_is_read_only_where_that_is_wanted(
    wanted: bool, expected: list[int]
) -> None:
    trello = TrelloApi(criteria={"deactivated": wanted})
    people = [trello.add(f"{number}@example.com", places=[WORKSPACE, OTHER_WORKSPACE]) for number in range(3)]
    trello.people[people[0]].deactivated = {WORKSPACE, OTHER_WORKSPACE}
    trello.people[people[1]].deactivated = {WORKSPACE}

    found = {record.external_id: record.values["deactivated"] for record in await records(trello)}

    assert found == {people[number]: number == 0 for number in expected}


@pytest.mark.parametrize("criteria", [{"boards": ["../members/me"]}, {"workspaces": ["acme"]}, {"board": []}])
def test_criteria_that_could_not_be_meant_are_refused(criteria: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Criteria.model_validate(criteria)


async def test_a_login_without_workspaces_must_choose_boards() -> None:
    with pytest.raises(UnexpectedResponseError, match="no workspace: choose the boards"):
        await read(TrelloApi(workspaces={}, criteria={}))


# Reading


async def test_a_cycle_costs_three_requests_whatever_the_number_of_members() -> None:
    trello = make(1000)

    pages = await read(trello)
    await read(trello, through_json(pages[-1].checkpoint))

    assert asked(trello) == ORDINARY_CYCLE * 2
    assert [(len(page.records), page.remaining, page.complete) for page in pages] == [(500, 500, False), (500, 0, True)]


async def test_members_are_never_read_one_by_one() -> None:
    trello = make(30)

    await read(trello)

    assert {*asked(trello)} == {*ORDINARY_CYCLE}


async def test_a_sweep_goes_on_behind_the_last_member_stored() -> None:
    trello = make(1200)
    pages = await read(trello)
    trello.remove(list(trello.people)[700])
    new = trello.add("new@example.com")

    rest = await read(trello, through_json(pages[0].checkpoint))

    assert ids(rest) == [*list(trello.people)[500:-1], new]
    assert [page.complete for page in rest] == [False, True]


async def test_who_leaves_the_workspace_is_missed_by_two_sweeps_and_then_gone() -> None:
    trello, stored = make(3), Stored()
    await stored.cycle(trello)
    gone = list(trello.people)[1]
    trello.remove(gone)

    await stored.cycle(trello)
    assert gone in stored.records
    await stored.cycle(trello)

    assert stored.records.keys() == trello.people.keys()


@pytest.mark.parametrize("stored_pages", [1, 3])
async def test_who_is_in_a_workspace_that_the_login_left_is_not_gone(stored_pages: int) -> None:
    trello, stored = make(1200), Stored()
    trello.criteria = {}
    bowler = trello.add("bowler@example.com", places=[OTHER_WORKSPACE])
    await stored.cycle(trello)
    before = {*stored.records}
    await stored.cycle(trello, limit=stored_pages)
    del trello.workspaces[OTHER_WORKSPACE]

    for _ in range(3):
        with pytest.raises(UnexpectedResponseError, match=f"The workspace {OTHER_WORKSPACE} was .*choose the workspac"):
            await stored.cycle(trello)
    assert {*stored.records} == before

    # A new choice begins without a checkpoint.
    trello.criteria = {"workspaces": [WORKSPACE]}
    assert ids(await read(trello)) == sorted(before - {bowler})


async def test_a_workspace_that_the_login_joined_is_read_and_missed_once_it_is_left() -> None:
    trello, stored, third = TrelloApi(criteria={}), Stored(), "5a00000000000000000000a3"
    await stored.cycle(trello)
    trello.workspaces[third] = "Choir"
    singer = trello.add("singer@example.com", places=[third])
    await stored.cycle(trello)
    assert {*stored.records} == {singer}

    del trello.workspaces[third]
    with pytest.raises(UnexpectedResponseError, match=f"The workspace {third} was closed"):
        await stored.cycle(trello)


async def test_a_login_that_left_all_workspaces_is_told_of_one_of_them() -> None:
    trello, stored = TrelloApi(criteria={}), Stored()
    await stored.cycle(trello)
    trello.workspaces = {}

    with pytest.raises(UnexpectedResponseError, match=f"The workspace {WORKSPACE} was closed"):
        await stored.cycle(trello)


async def test_ten_listings_are_one_request() -> None:
    trello = make(1)
    trello.boards |= {f"{number:024x}": Board(name=f"Board {number}", workspace=WORKSPACE) for number in range(28)}

    await read(trello)

    assert asked(trello) == [*ORDINARY_CYCLE, "/1/batch", "/1/batch"]


async def test_more_boards_than_a_token_may_read_at_once_leave_the_boards_unread() -> None:
    trello = make(1)
    trello.boards |= {f"{number:024x}": Board(name=f"Board {number}", workspace=WORKSPACE) for number in range(80)}

    [record] = await records(trello)

    assert "boards" not in record.values
    assert asked(trello) == ORDINARY_CYCLE


async def test_more_workspaces_than_a_token_may_read_at_once_must_be_chosen_from() -> None:
    trello = TrelloApi(workspaces={f"{number:024x}": f"Workspace {number}" for number in range(81)}, criteria={})

    with pytest.raises(UnexpectedResponseError, match="This login has 81 workspaces: choose at most 40"):
        await read(trello)


# Refusals


@pytest.mark.parametrize("key", ["workspaces", "boards"])
async def test_what_was_chosen_and_is_gone_asks_for_others(key: str) -> None:
    gone = "5c0000000000000000000001"
    trello = TrelloApi(criteria={key: [gone]})

    with pytest.raises(UnexpectedResponseError, match=f"The {key[:-1]} {gone} was closed or deleted.*choose others"):
        await read(trello)


async def test_a_closed_board_asks_for_others() -> None:
    trello = TrelloApi(criteria={"boards": [BOARD]})
    trello.boards[BOARD].closed = True

    with pytest.raises(UnexpectedResponseError, match=f"The board {BOARD} was closed"):
        await read(trello)


@pytest.mark.parametrize("names_errors", [True, False])
@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_workspace_that_vanishes_meanwhile_asks_for_others_and_not_for_another_token(
    status: int, names_errors: bool
) -> None:
    trello = TrelloApi(hidden={WORKSPACE: status}, names_errors=names_errors)

    with pytest.raises(UnexpectedResponseError, match=f"The workspace {WORKSPACE} was closed or deleted"):
        await read(trello)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_board_that_is_read_for_its_name_alone_and_hidden_leaves_all_boards_unread(status: int) -> None:
    trello, another = TrelloApi(), "5b00000000000000000000b3"
    trello.boards[another] = Board(name="Backlog", workspace=WORKSPACE)
    trello.add("ann@example.com", places=[WORKSPACE, BOARD, another])
    trello.add("bob@example.com", places=[WORKSPACE])
    assert [record.values["boards"] for record in await records(trello)] == [("Backlog", "Roadmap"), None]

    trello.hidden[BOARD] = status

    assert ["boards" in record.values for record in await records(trello)] == [False, False]


@pytest.mark.parametrize("names_errors", [True, False])
async def test_a_failure_inside_a_batch_is_a_failure(names_errors: bool) -> None:
    trello = TrelloApi(hidden={WORKSPACE: 503}, names_errors=names_errors)

    with pytest.raises(TransientError, match=f"organizations/{WORKSPACE}/memberships: 503"):
        await read(trello)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"[]", "0 answers to 2 questions"),
        (b'[{"message": "?"}, {"200": []}]', "an answer without a status"),
        (b'[{"200": {"half": 1}}, {"200": []}]', "not as documented"),
        (b'[{"200": [{"idMember": ""}]}, {"200": []}]', "not as documented"),
    ],
)
async def test_a_batch_that_is_not_as_documented_is_not_taken_for_nobody(answer: bytes, message: str) -> None:
    trello = make(1)
    trello.traffic.faults.extend([None, None, Fault(status=200, body=answer)])

    with pytest.raises(UnexpectedResponseError, match=message):
        await read(trello)


@pytest.mark.parametrize("text", ["invalid token", "invalid key"])
async def test_a_refusal_in_plain_text_asks_to_reconnect(text: str) -> None:
    trello = make(1)
    key = "another" if text == "invalid key" else CLIENT_ID
    trello.credentials = {"api_key": key, "token": "another"}

    with pytest.raises(AccessRevokedError, match=text):
        await read(trello)


@pytest.mark.parametrize(
    ("code", "wait"),
    [
        ("API_TOKEN_LIMIT_EXCEEDED", timedelta(seconds=10)),
        ("API_KEY_LIMIT_EXCEEDED", timedelta(seconds=10)),
        ("RATE_LIMIT_EXCEEDED", timedelta(seconds=10)),
        ("MEMBER_LIMIT_EXCEEDED", timedelta(seconds=900)),
        ("API_TOKEN_DB_LIMIT_EXCEEDED", None),
    ],
)
async def test_a_limit_is_waited_for_as_long_as_its_window_is(code: str, wait: timedelta | None) -> None:
    trello = TrelloApi(limit=code, limited=1)

    with pytest.raises(TransientError, match=code) as raised:
        await read(trello)

    assert raised.value.retry_after == wait


async def test_a_limit_inside_a_batch_is_waited_for_too() -> None:
    trello = make(1)
    limited = b'[{"200": []}, {"429": {"error": "API_TOKEN_LIMIT_EXCEEDED", "message": "Rate limit exceeded"}}]'
    trello.traffic.faults.extend([None, None, Fault(status=200, body=limited)])

    with pytest.raises(TransientError) as raised:
        await read(trello)

    assert raised.value.retry_after == timedelta(seconds=10)


async def test_no_cycle_meets_the_limit_even_if_each_listing_of_a_batch_counts() -> None:
    trello = TrelloApi(counts_listings=True, criteria={})
    trello.workspaces = {f"{number:024x}": f"Workspace {number}" for number in range(80)}

    assert await records(trello) == []
    assert len(trello.asked_at) == 90


# Login


async def test_key_and_token_are_in_a_header_and_in_no_address() -> None:
    trello = make(1)

    await read(trello)

    header = f'OAuth oauth_consumer_key="{CLIENT_ID}", oauth_token="{TOKEN}"'
    assert {each.headers["authorization"] for each in trello.traffic.exchanges} == {header}
    assert [each.url for each in trello.traffic.exchanges if TOKEN in str(each.url) or CLIENT_ID in str(each.url)] == []


def test_key_and_token_may_be_pasted_with_what_surrounds_them() -> None:
    pasted = Credentials.model_validate({"api_key": " key\n", "token": '\tto"ken '})

    assert pasted.headers()["Authorization"] == 'OAuth oauth_consumer_key="key", oauth_token="to%22ken"'


async def test_the_identity_is_the_member() -> None:
    trello = make(0)

    assert await SERVICE.identify(open_simulated(trello), credentials_of(trello)) == RemoteAccount(
        identity=ME, label="olga@example.com"
    )


async def test_offers_workspaces_and_open_boards_by_name() -> None:
    trello = make(0)
    trello.boards["5b00000000000000000000b3"] = Board(name="Old", workspace=WORKSPACE, closed=True)
    client, credentials = open_simulated(trello), credentials_of(trello)

    assert await SERVICE.choices(client, credentials, "workspaces") == [
        Choice(value=WORKSPACE, label="Acme"),
        Choice(value=OTHER_WORKSPACE, label="Bowling club"),
    ]
    assert await SERVICE.choices(client, credentials, "boards") == [
        Choice(value=BOARD, label="Roadmap (Acme)"),
        Choice(value=PRIVATE_BOARD, label="Garden (no workspace)"),
    ]
    assert await SERVICE.choices(client, credentials, "deactivated") == []


async def test_the_state_comes_back_beside_the_token() -> None:
    trello = make(0)
    flow, client = SERVICE.authorization, open_simulated(trello)
    assert flow is not None

    back = httpx.URL((await client.get(flow.start(attempt()))).headers["Location"])
    answer = dict(httpx.QueryParams(back.fragment))
    credentials = await flow.finish(client, attempt(), answer)

    assert str(back.copy_with(fragment=None)) == f"{CALLBACK}?state=the-state"
    assert answer == {"token": f"{TOKEN}-1"}
    assert (await SERVICE.identify(client, credentials)).identity == ME


async def test_a_user_who_declines_connects_nothing() -> None:
    trello = TrelloApi(declines=True)
    flow, client = SERVICE.authorization, open_simulated(trello)
    assert flow is not None

    back = httpx.URL((await client.get(flow.start(attempt()))).headers["Location"])

    with pytest.raises(AccessRevokedError, match="declined"):
        await flow.finish(client, attempt(), dict(httpx.QueryParams(back.fragment)))


async def test_disconnecting_gives_the_token_back_once_and_for_all() -> None:
    trello = make(0)
    assert SERVICE.revoke is not None

    for _ in range(2):
        await SERVICE.revoke(open_simulated(trello), REGISTRATION, credentials_of(trello))

    assert trello.tokens == set()
    assert [(each.method, each.status) for each in trello.traffic.exchanges] == [("DELETE", 200), ("DELETE", 401)]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.ConnectError("refused"), TransientError),
        (httpx.InvalidURL("bad"), UnexpectedResponseError),
        (httpx.Response(503, text=TOKEN), TransientError),
        (httpx.Response(429, text=TOKEN), TransientError),
        (httpx.Response(400, text=TOKEN), UnexpectedResponseError),
    ],
)
async def test_a_token_that_cannot_be_given_back_is_in_no_error(
    answer: httpx.Response | Exception, error: type[ConnectorError], caplog: pytest.LogCaptureFixture
) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert SERVICE.revoke is not None
    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))

    with caplog.at_level(logging.WARNING), pytest.raises(ConnectorError) as raised:
        await SERVICE.revoke(client, REGISTRATION, credentials_of(make(0)))

    told = f"{raised.value!r} {''.join(traceback.format_exception(raised.value))} {caplog.text}"
    assert type(raised.value) is error
    assert TOKEN not in told
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
