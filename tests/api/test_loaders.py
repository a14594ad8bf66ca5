"""However many objects a page has, it takes the same number of statements."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from domain.enums import Outcome
from domain.models import RecordOutcome
from tests.api.conftest import Client
from tests.api.world import make_world
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

CONTACTS = """{ contacts { edges { node {
    email fieldValues { value field { title service { name } } }
    listSubscriptions { list { name } } tags { name }
    origins { automaticImport { name externalAccount { label service { automaticImportCount } } } }
} } } }"""
IMPORTS = """{ automaticImports { edges { node {
    name lists { name } tags { name } importedContactCount backlog { remaining } lastRun { state }
    externalAccount { label automaticImports { name } }
    runs(first: 2) { edges { node { state outcomes { edges { node { outcome contact { email } } } } } } }
    records(filter: {state: LINKED}) { edges { node { externalId contact { email tags { name } } } } }
} } } }"""
RUNS = "{ importRuns { edges { node { state automaticImport { name } outcomes { edges { node { outcome } } } } } } }"
SERVICES = "{ services { key automaticImportCount externalAccounts { label automaticImports { name } } } }"


async def make_more(account_id: UUID, how_many: int) -> None:
    for number in range(how_many):
        contact = await make_contact(account_id)
        automatic_import = await make_import(await make_external_account(account_id))
        run = await make_run(automatic_import)
        await make_ledger_row(automatic_import, str(number), contact=contact)
        await make_outcome(run, str(number), contact=contact)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that were sent to PostgreSQL, on any connection."""
    sent: list[str] = []
    fetch = asyncpg.Connection.fetch

    async def counting(connection: asyncpg.Connection, query: str, *arguments: object, **more: Any) -> Any:
        sent.append(query)
        return await fetch(connection, query, *arguments, **more)

    monkeypatch.setattr(asyncpg.Connection, "fetch", counting)
    return sent


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        # One for the token; then one for each kind of thing that is shown, at each level where it is shown.
        (CONTACTS, 1 + 8),
        (IMPORTS, 1 + 14),
        (RUNS, 1 + 3),
        (SERVICES, 1 + 3),
    ],
)
async def test_a_page_of_many_takes_as_many_statements_as_a_page_of_one(
    client: Client, statements: list[str], query: str, expected: int
) -> None:
    await make_world(client.account_id)
    statements.clear()
    await client.data(query)
    for_one = list(statements)

    await make_more(client.account_id, 12)
    statements.clear()
    await client.data(query)

    assert sorted(statements) == sorted(for_one)
    assert len(statements) == expected


async def test_what_changed_takes_as_many_statements_for_many_outcomes_as_for_one(
    client: Client, statements: list[str]
) -> None:
    query = """{ importRuns { edges { node { review { kind } keptSilent { webhooks } outcomes { edges { node {
        changes { name field { title } } listsAdded { name } tagsAdded { name }
    } } } } } } }"""
    run = await make_run(await make_import(await make_external_account(client.account_id)))

    async def statements_for(*external_ids: str) -> list[str]:
        for external_id in external_ids:
            await make_outcome(run, external_id, outcome=Outcome.UPDATED)
        field, news, tag = (
            await make_field(client.account_id, f"SAMPLE_{external_ids[0]}"),
            await make_list(client.account_id),
            await make_tag(client.account_id),
        )
        await RecordOutcome.filter(external_id__in=external_ids).update(
            after={"field_values": {str(field.id): "x"}, "lists": [str(news.id)], "tags": [str(tag.id)]}
        )
        statements.clear()
        await client.data(query)
        return list(statements)

    for_one = await statements_for("1")
    for_many = await statements_for(*(str(number) for number in range(2, 14)))

    # One for the token, then runs, outcomes, fields, lists and tags.
    assert len(for_one) == 6
    assert sorted(for_many) == sorted(for_one)
