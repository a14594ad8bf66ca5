"""However large a ledger is, whoever looks for the few records that are not linked passes by all that are."""

from collections.abc import Iterator, Mapping
from typing import Any

import asyncpg
import orjson
import pytest

from domain import database, ledger, retrying
from domain.account import Viewer
from domain.enums import LedgerState, OutcomeCode
from domain.keyset import Span
from domain.ledger import RecordFilter
from domain.models import AutomaticImport, LedgerEntry
from domain.retrying import Wish
from tests.factories import make_account, make_external_account, make_import, make_linked_contacts
from tests.fakes import RecordingQueue

PAGE = 50
LINKED, SKIPPED, SKIPPED_ELSEWHERE = 15_000, 60, 1000


@pytest.fixture
async def automatic_import(database: None) -> AutomaticImport:
    """An import with many linked records and some that were skipped, beside another."""
    external_account = await make_external_account((await make_account()).id)
    one, other = await make_import(external_account), await make_import(external_account)
    await make_linked_contacts(one, LINKED)
    await make_skipped_records(one, SKIPPED)
    await make_skipped_records(other, SKIPPED_ELSEWHERE)
    await fetch("ANALYZE ledger")
    return one


async def make_skipped_records(automatic_import: AutomaticImport, how_many: int) -> None:
    await fetch(
        "INSERT INTO ledger (account_id, external_account_id, automatic_import_id, external_id, record, digest, state,"
        " code, revision, run_id) SELECT $1, $2, $3, 'r' || n, '{\"email\": \"none\"}', '\\x00', 'SKIPPED',"
        " 'INVALID_EMAIL', 1, gen_random_uuid() FROM generate_series(1, $4::integer) n",
        automatic_import.account_id, automatic_import.external_account_id, automatic_import.id, how_many,
    )  # fmt: skip


async def fetch(statement: str, *arguments: object) -> list[asyncpg.Record]:
    return await database.fetch(statement, *arguments)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[object, ...]]]:
    """The statements that were sent to PostgreSQL, with what was bound."""
    statements: list[tuple[str, tuple[object, ...]]] = []
    send = asyncpg.Connection.fetch

    async def recording(connection: asyncpg.Connection, query: str, *arguments: object, **more: Any) -> Any:
        statements.append((query, arguments))
        return await send(connection, query, *arguments, **more)

    monkeypatch.setattr(asyncpg.Connection, "fetch", recording)
    return statements


async def rows_taken(query: str, arguments: tuple[object, ...]) -> int:
    """How many rows of the ledger a statement takes, those included that a filter throws away."""
    [row] = await fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *arguments)
    return sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in nodes_of(orjson.loads(row[0])[0]["Plan"])
        if node.get("Relation Name") == "ledger"
    )


def nodes_of(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes_of(below)


NOT_LINKED = SKIPPED + SKIPPED_ELSEWHERE
PAGES = {
    "all": (RecordFilter(), PAGE, PAGE + 1),
    "linked": (RecordFilter(state=LedgerState.LINKED), PAGE, PAGE + 1),
    "skipped": (RecordFilter(state=LedgerState.SKIPPED), PAGE, PAGE + 1),
    "by code": (RecordFilter(code=OutcomeCode.INVALID_EMAIL), PAGE, PAGE + 1),
    "failed": (RecordFilter(state=LedgerState.FAILED), 0, NOT_LINKED),
    "by address": (RecordFilter(email="Person7@example.com"), 1, NOT_LINKED + 1),
    "by id": (RecordFilter(external_id="person7@example.com"), 1, 1),
    "by id and state": (RecordFilter(external_id="r7", state=LedgerState.SKIPPED), 1, 2),
}


async def test_a_page_of_records_takes_few_more_rows_than_it_shows(
    automatic_import: AutomaticImport, sent: list[tuple[str, tuple[object, ...]]]
) -> None:
    too_many = {}
    for name, (wanted, shown, most) in PAGES.items():
        sent.clear()
        found = await ledger.of_imports(automatic_import.account_id, [automatic_import.id], Span(limit=PAGE), wanted)
        [statement] = sent
        assert len(found[automatic_import.id].rows) == shown, name
        if (taken := await rows_taken(*statement)) > most:
            too_many[name] = taken

    assert too_many == {}


async def test_a_retry_passes_by_the_linked_records(
    automatic_import: AutomaticImport, sent: list[tuple[str, tuple[object, ...]]]
) -> None:
    viewer = Viewer(account_id=automatic_import.account_id, token_id=automatic_import.id, scopes=frozenset())

    await retrying.retry(viewer, Wish(automatic_import_id=automatic_import.id), queue=RecordingQueue())
    candidates, counted = (statement for statement in sent if "FROM ledger" in statement[0])

    assert await LedgerEntry.filter(due=True).count() == SKIPPED
    assert await rows_taken(*candidates) <= NOT_LINKED
    assert await rows_taken(*counted) <= NOT_LINKED
