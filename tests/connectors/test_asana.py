from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from connectors.asana.connector import SERVICE, Criteria
from connectors.base import (
    AccessRevokedError,
    Attempt,
    Choice,
    Page,
    Registration,
    RemoteAccount,
    TransientError,
    UnexpectedResponseError,
)
from connectors.oauth import Tokens
from domain.records import Record, SourceConsent
from tests.connectors.reading import Stored, credentials_of, ids, read, read_into, through_json
from tests.connectors.simulators.asana import (
    OTHER_WORKSPACE,
    SALES,
    SUPPORT,
    WORKSPACE,
    AsanaApi,
    make,
)
from tests.connectors.simulators.asana_oauth import ME, TOKEN, AsanaOAuth
from tests.connectors.simulators.kit import CLIENT_ID, CLIENT_SECRET, Fault, open_simulated

REGISTRATION = Registration(client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET))


def asked(asana: AsanaApi) -> list[str]:
    """The paths that were asked for, without what they have in common."""
    return [each.url.path.removeprefix("/api/1.0") for each in asana.traffic.exchanges]


async def agree(asana: AsanaApi) -> Any:
    """Credentials from Asana's own page."""
    flow = SERVICE.authorization
    assert flow is not None
    attempt = Attempt(
        registration=REGISTRATION,
        details=flow.details(),
        redirect_uri="https://sluice.example.com/oauth/callback",
        state="the-state",
        verifier="v" * 43,
    )
    client = open_simulated(asana)
    back = httpx.URL((await client.get(flow.start(attempt))).headers["Location"])
    return await flow.finish(client, attempt, dict(back.params))


# Records


async def test_a_person_is_read_with_every_field() -> None:
    asana = AsanaApi()
    gid = asana.add("ann.lee@example.com", places=[OTHER_WORKSPACE])
    asana.people[gid].guest = True

    [record] = [record for page in await read(asana) for record in page.records]

    assert record == Record(
        external_id=gid,
        email="ann.lee@example.com",
        first_name="Ann",
        last_name="Lee",
        consent=SourceConsent.NOT_TRACKED,
        values={
            "workspaces": ("Acme", "Bowling club"),
            "photo": f"https://s3.amazonaws.com/profile_photos/{gid}_128x128.png",
            "is_guest": True,
            "is_active": True,
        },
    )


async def test_fields_have_their_types() -> None:
    pages = await read(make(1))

    assert {key: str(spec.type) for page in pages for key, spec in page.fields.items()} == {
        "workspaces": "MULTISELECT",
        "photo": "URL",
        "is_guest": "BOOLEAN",
        "is_active": "BOOLEAN",
    }


async def test_an_address_that_asana_hides_leaves_the_record_without_one() -> None:
    asana = make(2)
    first, second = asana.people
    asana.hidden.add(first)

    pages = await read(asana)

    assert [(record.external_id, record.email) for page in pages for record in page.records] == [
        (first, None),
        (second, "person-1@example.com"),
    ]


async def test_nulls_that_asana_may_send_are_empty_values() -> None:
    asana = make(1)
    user = b'{"gid": "7", "name": null, "email": null, "photo": null, "workspaces": null}'
    asana.traffic.faults.extend([None, Fault(status=200, body=b'{"data": [' + user + b'], "next_page": null}')])

    [record] = [record for page in await read(asana) for record in page.records]

    assert record == Record(external_id="7", email=None, values={"photo": None, "is_guest": False, "is_active": True})


async def test_a_signed_picture_does_not_change_its_owner_in_each_cycle() -> None:
    asana = make(1)
    asana.signed_photos = True

    found = [[record for page in await read(asana) for record in page.records] for _ in range(2)]

    assert found[0] == found[1]
    assert found[0][0].values["photo"] is None


async def test_somebody_invited_whose_name_is_the_address_has_no_name() -> None:
    asana = AsanaApi()
    asana.add("new@example.com", name="new@example.com")

    [record] = [record for page in await read(asana) for record in page.records]

    assert (record.first_name, record.last_name) == (None, None)


# Criteria


async def test_guests_are_left_out_where_they_are_not_wanted() -> None:
    asana = make(3)
    staff, guest, other = asana.people
    asana.people[guest].guest = True
    asana.criteria = {"workspace": WORKSPACE, "guests": False}

    assert ids(await read(asana)) == [staff, other]


@pytest.mark.parametrize(("wanted", "expected"), [(False, [0, 2]), (True, [0, 1, 2])])
async def test_deactivated_people_are_read_only_where_they_are_wanted(wanted: bool, expected: list[int]) -> None:
    asana = make(3)
    gids = list(asana.people)
    asana.people[gids[1]].active = False
    asana.criteria = {"workspace": WORKSPACE, "deactivated": wanted}

    records = [record for page in await read(asana) for record in page.records]

    assert [record.external_id for record in records] == [gids[number] for number in expected]
    assert [record.values["is_active"] for record in records] == [number != 1 for number in expected]


async def test_everybody_is_read_where_nobody_is_to_be_left_out() -> None:
    asana = make(3)
    for person, (guest, active) in zip(
        asana.people.values(), [(True, True), (False, False), (True, False)], strict=True
    ):
        person.guest, person.active = guest, active

    records = [record for page in await read(asana) for record in page.records]

    assert Criteria() == Criteria(guests=True, deactivated=True)
    assert [(record.values["is_guest"], record.values["is_active"]) for record in records] == [
        (True, True),
        (False, False),
        (True, False),
    ]


@pytest.mark.parametrize(("guests", "told"), [(500, True), (501, False)])
async def test_no_checkpoint_holds_more_than_500_guests_unless_they_are_left_out(guests: int, told: bool) -> None:
    asana = make(guests + 1)
    for gid in list(asana.people)[:guests]:
        asana.people[gid].guest = True

    pages = await read(asana)

    assert ids(pages) == list(asana.people)
    assert {"is_guest" in record.values for page in pages for record in page.records} == {told}
    assert {record.values["is_active"] for page in pages for record in page.records} == {True}
    assert max(len(page.checkpoint["guests"] or ()) for page in pages) == 500
    asana.criteria = {"workspace": WORKSPACE, "guests": False}
    assert ids(await read(asana)) == list(asana.people)[guests:]


@pytest.mark.parametrize("wanted", [True, False])
async def test_more_than_500_deactivated_people_are_left_out_only_where_they_are_not_wanted(wanted: bool) -> None:
    asana = make(502)
    for gid in list(asana.people)[:501]:
        asana.people[gid].active = False
    asana.criteria = {"workspace": WORKSPACE, "deactivated": wanted}

    records = [record for page in await read(asana) for record in page.records]

    assert [record.external_id for record in records] == list(asana.people)[0 if wanted else 501 :]
    assert {record.values.get("is_active", "not told") for record in records} == {"not told" if wanted else True}


async def test_only_members_of_the_chosen_teams_are_read_each_of_them_once() -> None:
    asana = AsanaApi(page_size=2)
    asana.add("nobody@example.com")
    members = [
        asana.add(f"{number}@example.com", places=places)
        for number, places in enumerate([[SALES], [SALES, SUPPORT], [SUPPORT], [SALES, SUPPORT], [SALES]])
    ]
    asana.criteria = {"workspace": WORKSPACE, "teams": [SALES, SUPPORT]}

    pages = await read(asana)

    sales, support = [members[number] for number in (0, 1, 3, 4)], [members[2]]
    assert ids(pages) == sales + support
    assert [page.complete for page in pages] == [False] * (len(pages) - 1) + [True]
    assert {each.url.params.get("team") for each in asana.traffic.exchanges} == {None, SALES, SUPPORT}


async def test_teams_are_looked_up_once_a_sweep() -> None:
    asana = AsanaApi(page_size=1, criteria={"workspace": WORKSPACE, "teams": [SALES]})
    for number in range(2):
        asana.add(f"{number}@example.com", places=[SALES])
    pages = await read(asana)
    asana.teams = {f"14{number:014}": (WORKSPACE, "Another") for number in range(2)} | asana.teams

    asana.traffic.exchanges.clear()
    await read(asana, through_json(pages[0].checkpoint))
    assert f"/workspaces/{WORKSPACE}/teams" not in asked(asana)

    asana.traffic.exchanges.clear()
    await read(asana, through_json(pages[-1].checkpoint))
    assert asked(asana).count(f"/workspaces/{WORKSPACE}/teams") == 4


async def test_a_team_of_another_workspace_is_refused_before_anybody_is_read() -> None:
    asana, bowlers = make(1), "1200000000000399"
    asana.teams[bowlers] = (OTHER_WORKSPACE, "Bowlers")
    bowler = asana.people[asana.add("bowler@example.com")]
    bowler.places, bowler.guest = {OTHER_WORKSPACE, bowlers}, True
    asana.criteria = {"workspace": WORKSPACE, "teams": [SALES, bowlers], "guests": False}

    with pytest.raises(UnexpectedResponseError, match=f"The workspace {WORKSPACE} has no team {bowlers} that this"):
        await read(asana)

    assert asked(asana) == [f"/workspaces/{WORKSPACE}/teams", "/workspaces"]


async def test_the_only_workspace_need_not_be_chosen() -> None:
    asana = make(1)
    asana.criteria = {}
    del asana.workspaces[OTHER_WORKSPACE]

    pages = await read(asana)
    asana.traffic.exchanges.clear()
    again = await read(asana, through_json(pages[-1].checkpoint))

    assert ids(pages) == ids(again) == list(asana.people)
    assert asked(asana) == [f"/workspaces/{WORKSPACE}/workspace_memberships", "/users"]


async def test_one_of_several_workspaces_must_be_chosen() -> None:
    asana = make(1)
    asana.criteria = {}

    with pytest.raises(UnexpectedResponseError, match="This login has 2 workspaces: choose one"):
        await read(asana)


@pytest.mark.parametrize("criteria", [{"workspace": "../users/me"}, {"teams": ["1?x=y"]}, {"workspaces": "1"}])
def test_criteria_that_could_not_be_meant_are_refused(criteria: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Criteria.model_validate(criteria)


# Reading


async def test_the_listing_that_ends_at_2000_is_never_used() -> None:
    asana = make(2101)

    pages = await read(asana)

    assert len(ids(pages)) == 2101
    assert {*asked(asana)} == {f"/workspaces/{WORKSPACE}/workspace_memberships", "/users"}


async def test_a_thousand_people_cost_twenty_requests_in_each_cycle() -> None:
    asana = make(1000)

    pages = await read(asana)

    assert len(asana.traffic.exchanges) == 20
    assert sum(page.sweep for page in pages) == len(pages) == 20
    await read(asana, through_json(pages[-1].checkpoint))
    assert len(asana.traffic.exchanges) == 40


async def test_an_offset_that_asana_forgot_begins_the_sweep_again() -> None:
    asana = make(6)
    asana.page_size = 2
    pages = (await read(asana))[:4]
    asana.expire_checkpoints()
    asana.traffic.exchanges.clear()

    rest = await read(asana, through_json(pages[-1].checkpoint))

    assert ids(rest) == list(asana.people)
    assert [page.complete for page in rest] == [False] * 5 + [True]
    assert [each.status for each in asana.traffic.exchanges] == [400] + [200] * 6


async def test_offsets_that_asana_forgets_at_once_are_no_reason_to_go_on_for_ever() -> None:
    asana = make(6)
    asana.page_size = 2
    asana.traffic.meanwhile = asana.expire_checkpoints

    with pytest.raises(UnexpectedResponseError, match="400"):
        await read(asana)

    assert [each.status for each in asana.traffic.exchanges] == [200, 400, 200, 400]


async def test_another_bad_request_is_no_forgotten_offset() -> None:
    asana = make(1)
    asana.traffic.faults.append(Fault(status=400, body=b'{"errors": [{"message": "workspace: Not a Long"}]}'))

    with pytest.raises(UnexpectedResponseError, match="400"):
        await read(asana)

    assert len(asana.traffic.exchanges) == 1


async def test_a_page_that_comes_again_and_again_is_not_read_for_ever() -> None:
    asana = make(6)
    asana.page_size = 2
    asana.traffic.replays = True

    with pytest.raises(UnexpectedResponseError, match="the same page again and again"):
        await read(asana)

    assert len(asana.traffic.exchanges) == 2


async def test_who_leaves_the_workspace_is_missed_by_two_sweeps_and_then_gone() -> None:
    asana, stored = make(3), Stored()
    await stored.cycle(asana)
    gone = list(asana.people)[1]
    asana.remove(gone)

    await stored.cycle(asana)
    assert gone in stored.records
    await stored.cycle(asana)

    assert stored.records.keys() == asana.people.keys()


# Refusals


@pytest.mark.parametrize("status", [403, 404])
async def test_a_workspace_that_is_gone_asks_for_another(status: int) -> None:
    asana = make(1)
    asana.gone[WORKSPACE] = status

    with pytest.raises(UnexpectedResponseError, match=f"The workspace {WORKSPACE} does not exist, or .*another"):
        await read(asana)


@pytest.mark.parametrize("status", [403, 404])
async def test_a_team_that_is_gone_asks_for_others(status: int) -> None:
    asana = make(1)
    asana.gone[SUPPORT] = status
    asana.criteria = {"workspace": WORKSPACE, "teams": [SALES, SUPPORT]}

    with pytest.raises(UnexpectedResponseError, match=f"has no team {SUPPORT} that this login can see: choose other"):
        await read(asana)


@pytest.mark.parametrize("status", [403, 404])
async def test_a_team_that_goes_in_mid_sweep_asks_for_others(status: int) -> None:
    asana = AsanaApi(page_size=1, criteria={"workspace": WORKSPACE, "teams": [SALES, SUPPORT]})
    for number in range(2):
        asana.add(f"{number}@example.com", places=[SALES, SUPPORT])
    pages = await read(asana)
    asana.gone[SUPPORT] = status

    with pytest.raises(UnexpectedResponseError, match=f"has no team {SUPPORT} that this login can see: choose other"):
        await read(asana, through_json(pages[2].checkpoint))


@pytest.mark.parametrize("status", [403, 404])
async def test_a_workspace_that_is_gone_with_its_teams_asks_for_another(status: int) -> None:
    asana = AsanaApi(criteria={"workspace": WORKSPACE, "teams": [SALES]}, gone={WORKSPACE: status})

    with pytest.raises(UnexpectedResponseError, match=f"The workspace {WORKSPACE} does not exist, or .*another"):
        await read(asana)


@pytest.mark.parametrize("status", [402, 403, 404])
async def test_without_memberships_everybody_is_read_and_who_is_a_guest_or_left_stays_unknown(status: int) -> None:
    asana = make(2)
    asana.memberships_status = status
    asana.people[next(iter(asana.people))].active = False

    records = [record for page in await read(asana) for record in page.records]

    assert [record.external_id for record in records] == list(asana.people)
    assert [{*record.values} for record in records] == [{"workspaces", "photo"}] * 2


@pytest.mark.parametrize("status", [402, 403, 404])
@pytest.mark.parametrize("unwanted", ["guests", "deactivated"])
async def test_without_memberships_nobody_can_be_left_out(unwanted: str, status: int) -> None:
    asana = make(2)
    asana.memberships_status = status
    asana.people[next(iter(asana.people))].active = False
    asana.criteria = {"workspace": WORKSPACE, unwanted: False}

    with pytest.raises(UnexpectedResponseError, match="connect with a personal access token, or import guests and"):
        await read(asana)

    assert "/users" not in asked(asana)


@pytest.mark.parametrize(
    ("status", "message"), [(402, "paid plans only"), (451, "for legal reasons: ask its administrator")]
)
async def test_statuses_of_asanas_own_say_what_to_do(status: int, message: str) -> None:
    asana = make(1)
    asana.traffic.faults.extend([None, Fault(status=status, body=b"{}")])

    with pytest.raises(UnexpectedResponseError, match=message):
        await read(asana)


async def test_a_token_that_may_not_read_users_asks_to_reconnect() -> None:
    asana = make(1)
    asana.oauth.tokens[TOKEN] = frozenset({"workspaces:read"})

    with pytest.raises(AccessRevokedError, match="users:read"):
        await read(asana)


async def test_a_token_revoked_in_mid_run_asks_to_reconnect() -> None:
    asana = make(5)
    asana.page_size = 2
    pages: list[Page] = []
    asana.traffic.faults.extend([None] * 4)
    asana.traffic.meanwhile = lambda: None if asana.traffic.faults else asana.revoke()

    with pytest.raises(AccessRevokedError):
        await read_into(pages, asana, None)

    assert ids(pages) == list(asana.people)[:2]


async def test_more_requests_than_the_plan_allows_are_waited_for_as_long_as_asana_says() -> None:
    asana = make(300)
    asana.per_minute = 3

    with pytest.raises(TransientError) as raised:
        await read(asana)

    assert raised.value.retry_after == timedelta(seconds=30)


# Login


async def test_the_identity_is_the_user() -> None:
    asana = make(0)

    assert await SERVICE.identify(open_simulated(asana), credentials_of(asana)) == RemoteAccount(
        identity=ME, label="olga@example.com"
    )


async def test_offers_workspaces_and_the_teams_that_workspaces_have() -> None:
    asana = make(0)
    client = open_simulated(asana)

    workspaces = await SERVICE.choices(client, credentials_of(asana), "workspace")
    teams = await SERVICE.choices(client, credentials_of(asana), "teams")

    assert workspaces == [
        Choice(value=WORKSPACE, label="Acme"),
        Choice(value=OTHER_WORKSPACE, label="Bowling club"),
    ]
    assert teams == [Choice(value=SALES, label="Sales (Acme)"), Choice(value=SUPPORT, label="Support (Acme)")]
    assert await SERVICE.choices(client, credentials_of(asana), "guests") == []


async def test_choices_of_a_long_listing_are_read_to_its_end() -> None:
    asana = make(0)
    asana.workspaces = {str(number): f"Workspace {number}" for number in range(1000, 1107)}

    offered = await SERVICE.choices(open_simulated(asana), credentials_of(asana), "workspace")

    assert [choice.value for choice in offered] == list(asana.workspaces)


async def test_choices_that_never_end_are_given_up() -> None:
    asana = make(0)
    asana.page_size = 1
    asana.traffic.replays = True

    with pytest.raises(UnexpectedResponseError, match="does not end"):
        await SERVICE.choices(open_simulated(asana), credentials_of(asana), "workspace")


async def test_an_app_without_full_access_reads_people_but_not_who_is_a_guest_or_left() -> None:
    asana = make(2)
    asana.people[next(iter(asana.people))].active = False
    connector = SERVICE.connect(open_simulated(asana), await agree(asana), Criteria(workspace=WORKSPACE))

    records = [record async for page in connector.pages(None) for record in page.records]

    assert [record.external_id for record in records] == list(asana.people)
    assert [{*record.values} for record in records] == [{"workspaces", "photo"}] * 2


async def test_a_user_who_declines_connects_nothing() -> None:
    with pytest.raises(AccessRevokedError, match="declined"):
        await agree(AsanaApi(oauth=AsanaOAuth(declines=True)))


@pytest.mark.parametrize("kept_back", [True, False])
async def test_a_renewal_keeps_the_refresh_token_whether_it_comes_again_or_not(kept_back: bool) -> None:
    asana = AsanaApi(oauth=AsanaOAuth(keeps_refresh_token_back=kept_back))
    flow, credentials = SERVICE.authorization, await agree(asana)
    assert flow is not None
    assert flow.renew is not None

    renewed = await flow.renew(open_simulated(asana), REGISTRATION, credentials)

    assert isinstance(renewed, Tokens)
    assert renewed.refresh_token == credentials.refresh_token
    assert renewed.access_token != credentials.access_token
    assert (await SERVICE.identify(open_simulated(asana), renewed)).identity == ME


async def test_disconnecting_gives_the_refresh_token_back() -> None:
    asana = make(0)
    credentials = await agree(asana)
    assert SERVICE.revoke is not None

    await SERVICE.revoke(open_simulated(asana), REGISTRATION, credentials)

    assert asana.oauth.refresh_tokens == {}


async def test_a_personal_access_token_is_its_owners_to_delete() -> None:
    asana = make(0)
    assert SERVICE.revoke is not None

    await SERVICE.revoke(open_simulated(asana), REGISTRATION, credentials_of(asana))

    assert asana.traffic.exchanges == []
