"""R18: a run's outcomes as a file that a spreadsheet opens, and cannot be harmed by."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from api.node import global_id
from api.outcomes_csv import harmless
from domain import account, database, download_grants, outcomes
from domain.enums import LedgerState, Outcome
from domain.models import ApiToken, AutomaticImport, ImportRun, RecordOutcome
from tests.api.conftest import Client
from tests.configuration import Configure
from tests.factories import (
    make_contact,
    make_external_account,
    make_field,
    make_import,
    make_ledger_row,
    make_list,
    make_outcome,
    make_run,
    make_tag,
)

ENDED = (
    "This link has ended, or is not whole: a link works for 15 minutes."
    " Ask the API for `outcomesCsvUrl` again, or send your token as `Authorization: Bearer slc_…`.\n"
)
HEADER = ["When", "External id", "Email", "Outcome", "Code", "Notes", "Contact id", "What changed"]


@pytest.fixture
async def run(client: Client) -> ImportRun:
    automatic_import = await make_import(await make_external_account(client.account_id), name="Kunder i Malmö")
    return await make_run(automatic_import, created_at=datetime(2026, 11, 22, tzinfo=UTC))


async def url_of(client: Client, run: ImportRun) -> str:
    data = await client.data(
        "query ($id: ID!) { node(id: $id) { ... on ImportRun { outcomesCsvUrl } } }", id=global_id("ImportRun", run.id)
    )
    url: str = data["node"]["outcomesCsvUrl"]
    return url


def rows_of(response: httpx.Response) -> list[list[str]]:
    assert response.status_code == 200, response.text
    return list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"), newline="")))


async def test_a_plain_link_downloads_every_outcome_with_what_changed(client: Client, run: ImportRun) -> None:
    deleted_field = str(UUID(int=2**128 - 1))
    spent, news, vip = (
        await make_field(client.account_id, "SAMPLE_SPENT"),
        await make_list(client.account_id, "News"),
        await make_tag(client.account_id, "VIP"),
    )
    ann = await make_contact(client.account_id, "ann@example.com")
    automatic_import = await AutomaticImport.get(id=run.automatic_import_id)
    await make_ledger_row(automatic_import, "a1", contact=ann)
    await make_ledger_row(automatic_import, "b2", state=LedgerState.SKIPPED, code="INVALID_EMAIL", email="bob@")
    await make_outcome(run, "a1", outcome=Outcome.UPDATED, contact=ann, notes=["FIELD_TYPE", "PROTECTED"])
    await RecordOutcome.filter(external_id="a1").update(
        before={"first_name": None, "status": "ACTIVE", "field_values": {str(spent.id): 3, deleted_field: "x"}},
        after={
            "first_name": "Änn",
            "status": "UNSUBSCRIBED",
            "email_key": "hidden",
            "field_values": {str(spent.id): 5, deleted_field: None},
            "lists": [str(news.id)],
            "tags": [str(vip.id)],
        },
    )
    await make_outcome(run, "b2", outcome=Outcome.SKIPPED, code="INVALID_EMAIL")
    moment = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    await RecordOutcome.all().update(created_at=moment)

    response = await client.http.get(await url_of(client, run))

    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == ('attachment; filename="outcomes-kunder-i-malmo-2026-11-22.csv"')
    assert (response.headers["Cache-Control"], response.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert response.content.startswith(b"\xef\xbb\xbf")
    assert rows_of(response) == [
        HEADER,
        [
            moment.isoformat(),
            "a1",
            "ann@example.com",
            "UPDATED",
            "",
            "FIELD_TYPE, PROTECTED",
            global_id("Contact", ann.id),
            (
                "First name: (empty) → Änn; Status: ACTIVE → UNSUBSCRIBED; Sample_Spent: 3 → 5;"
                " a deleted field: x → (empty); added to News; added to VIP"
            ),
        ],
        [moment.isoformat(), "b2", "bob@", "SKIPPED", "INVALID_EMAIL", "", "", ""],
    ]


async def test_a_bearer_token_will_do(client: Client, run: ImportRun) -> None:
    await make_outcome(run, "1")

    response = await client.http.get(f"/import-runs/{run.id}/outcomes.csv", headers=client.headers)

    assert [row[1] for row in rows_of(response)] == ["External id", "1"]


async def test_the_link_is_whole_where_the_server_knows_its_public_address(
    client: Client, run: ImportRun, configure: Configure
) -> None:
    path = await url_of(client, run)
    configure(public_url="https://sluice.example/api/")
    whole = await url_of(client, run)

    assert path.startswith(f"/import-runs/{run.id}/outcomes.csv?grant=")
    assert whole.startswith(f"https://sluice.example/api/import-runs/{run.id}/outcomes.csv?grant=")


async def test_cells_that_would_run_as_formulas_are_made_text(client: Client, run: ImportRun) -> None:
    await make_outcome(run, '=HYPERLINK("http://evil.example")')
    await make_outcome(run, 'a\n"b", c')

    rows = rows_of(await client.http.get(await url_of(client, run)))

    assert [row[1] for row in rows[1:]] == ['\'=HYPERLINK("http://evil.example")', 'a\n"b", c']


@given(st.text(max_size=6))
def test_no_cell_begins_a_formula_and_none_loses_anything(cell: str) -> None:
    made = harmless(cell)

    assert made in (cell, f"'{cell}")
    assert not made.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))
    assert not made.startswith(("\t", "\r", "\n"))


async def test_a_link_ends_after_a_quarter_of_an_hour(
    client: Client, run: ImportRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_grants, "LIFETIME", timedelta(seconds=-1))

    response = await client.http.get(await url_of(client, run))

    assert (response.status_code, response.text) == (401, ENDED)
    assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_a_link_ends_with_the_token_that_it_was_asked_for_with(client: Client, run: ImportRun) -> None:
    url = await url_of(client, run)
    await ApiToken.filter(account_id=client.account_id).update(revoked_at=datetime.now(UTC))

    response = await client.http.get(url)

    assert (response.status_code, response.text) == (401, ENDED)


@pytest.mark.parametrize("grant", ["", "x", "?", "%00", "a" * 500, "ä", "azE6" + "A" * 100])
async def test_a_link_that_is_none_of_ours_opens_nothing(client: Client, run: ImportRun, grant: str) -> None:
    response = await client.http.get(f"/import-runs/{run.id}/outcomes.csv", params={"grant": grant})

    assert (response.status_code, response.text) == (401, ENDED)


async def test_a_link_opens_its_own_run_only(client: Client, run: ImportRun) -> None:
    other = await make_run(await make_import(await make_external_account(client.account_id)))
    query = urlsplit(await url_of(client, run)).query

    response = await client.http.get(f"/import-runs/{other.id}/outcomes.csv?{query}")

    assert (response.status_code, response.text) == (401, ENDED)


async def test_a_run_of_another_account_is_not_there(client: Client, stranger: Client, run: ImportRun) -> None:
    answers = [
        await stranger.http.get(f"/import-runs/{run_id}/outcomes.csv", headers=stranger.headers)
        for run_id in (run.id, uuid7())
    ]

    told = (404, "There is no import run with this id in your account.\n")
    assert [(answer.status_code, answer.text) for answer in answers] == [told, told]


@pytest.mark.parametrize(("scopes", "status"), [(["read"], 200), (["write"], 403), (["read", "write"], 200)])
async def test_a_token_needs_to_be_allowed_to_read(
    client: Client, run: ImportRun, scopes: list[str], status: int
) -> None:
    token = await account.create_token(client.account_id, scopes=scopes)

    answer = await client.http.get(f"/import-runs/{run.id}/outcomes.csv", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == status


async def test_an_unknown_token_is_refused(client: Client, run: ImportRun) -> None:
    answers = [
        await client.http.get(f"/import-runs/{run.id}/outcomes.csv", headers={"Authorization": value})
        for value in ("Bearer slc_unknown", "Basic abc")
    ]

    told = (401, "This token is unknown or was revoked. Ask for a new one.\n")
    assert [(answer.status_code, answer.text) for answer in answers] == [told, told]


@pytest.mark.parametrize("path", ["/import-runs/1/outcomes.csv", "/import-runs/x%00/outcomes.csv"])
async def test_an_address_without_a_run_is_not_found(client: Client, path: str) -> None:
    assert (await client.http.get(path, headers=client.headers)).status_code == 404


async def make_outcomes(run: ImportRun, how_many: int) -> None:
    await database.fetch(
        "INSERT INTO outcome (account_id, day, run_id, automatic_import_id, id, external_id, outcome)"
        " SELECT $1, current_date, $2, $3, md5(n::text)::uuid, 'r' || n, 'CREATED' FROM generate_series(1, $4) n",
        run.account_id, run.id, run.automatic_import_id, how_many,
    )  # fmt: skip


async def test_however_many_outcomes_there_are_only_a_thousand_are_held_at_a_time(
    client: Client, run: ImportRun
) -> None:
    await make_outcomes(run, 3000)
    portions: list[Sequence[outcomes.StreamedOutcome]] = [
        portion async for portion in outcomes.stream_of_run(client.account_id, run.id)
    ]
    downloaded = rows_of(await client.http.get(await url_of(client, run)))

    ids: list[UUID] = [each.row.id for portion in portions for each in portion]
    assert [len(portion) for portion in portions] == [1000, 1000, 1000]
    assert ids == sorted(ids)
    assert {row[1] for row in downloaded[1:]} == {f"r{n}" for n in range(1, 3001)}
    assert len(downloaded) == 3001
