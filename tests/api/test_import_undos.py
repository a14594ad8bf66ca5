"""Undoing runs over GraphQL."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from api.node import global_id
from domain import account
from domain.enums import ImportState, RunState, TaskState, UndoCode, UndoResult
from domain.models import AutomaticImport, ImportRun
from tests.api.conftest import Client
from tests.factories import (
    make_contact,
    make_external_account,
    make_field,
    make_import,
    make_run,
    make_undo,
    make_undone_record,
    rows_of,
)
from tests.fakes import RecordingQueue

UNDO = """
mutation ($id: ID!, $andLater: Boolean! = false) { undoImportRun(input: {id: $id, andLater: $andLater}) {
    importUndo { id state runCount progress { done total } errorMessage finishedAt automaticImport { state } }
    userErrors { code field message }
} }
"""
DELETE = """
mutation ($id: ID!, $undo: Boolean!) { deleteAutomaticImport(input: {id: $id, undo: $undo}) {
    deletedAutomaticImportId importUndo { id state runCount automaticImport { id } } userErrors { code }
} }
"""
RECORDS = """
query ($id: ID!, $first: Int, $after: String, $filter: UndoneRecordFilter) { node(id: $id) { ... on ImportUndo {
    records(first: $first, after: $after, filter: $filter) {
        edges { node { externalId } } pageInfo { endCursor hasNextPage }
    }
} } }
"""


@pytest.fixture
async def automatic_import(client: Client) -> AutomaticImport:
    return await make_import(await make_external_account(client.account_id))


@pytest.fixture
async def finished(automatic_import: AutomaticImport) -> ImportRun:
    return await make_run(automatic_import)


def run_id(run: ImportRun) -> str:
    return global_id("ImportRun", run.id)


async def test_a_run_is_undone_in_the_background_and_its_import_paused(
    client: Client, automatic_import: AutomaticImport, finished: ImportRun, queue: RecordingQueue
) -> None:
    later = await make_run(automatic_import, state=RunState.RUNNING)

    payload = (await client.data(UNDO, id=run_id(finished)))["undoImportRun"]

    undo_id = payload["importUndo"].pop("id")
    tasks = (await rows_of(client.account_id))["background_task"]
    assert payload == {
        "importUndo": {
            "state": "QUEUED",
            "runCount": 1,
            "progress": {"done": 0, "total": None},
            "errorMessage": None,
            "finishedAt": None,
            "automaticImport": {"state": "PAUSED"},
        },
        "userErrors": [],
    }
    assert [(task["kind"], global_id("ImportUndo", UUID(str(task["subject"])))) for task in tasks] == [
        ("UNDO", undo_id)
    ]
    assert queue.woken == 1
    assert (await ImportRun.get(id=later.id)).state == RunState.CANCELLED


async def test_later_runs_are_undone_with_it_where_asked(
    client: Client, automatic_import: AutomaticImport, finished: ImportRun
) -> None:
    await make_run(automatic_import)
    await make_run(automatic_import, state=RunState.UNDONE)

    payload = (await client.data(UNDO, id=run_id(finished), andLater=True))["undoImportRun"]

    assert payload["importUndo"]["runCount"] == 2


async def test_what_cannot_be_undone_says_why(
    client: Client, automatic_import: AutomaticImport, finished: ImportRun
) -> None:
    undone = await make_run(automatic_import, state=RunState.UNDONE)
    old = await make_run(automatic_import)
    await ImportRun.filter(id=old.id).update(created_at=datetime(2020, 1, 1, tzinfo=UTC))

    async def refusal(run: ImportRun) -> tuple[str, list[str], str]:
        before = await rows_of(client.account_id)
        payload = (await client.data(UNDO, id=run_id(run)))["undoImportRun"]
        assert payload["importUndo"] is None
        assert await rows_of(client.account_id) == before
        [error] = payload["userErrors"]
        return error["code"], error["field"], error["message"]

    assert await refusal(undone) == ("ALREADY_UNDONE", ["id"], "This run is undone already.")
    assert await refusal(old) == (
        "UNDO_EXPIRED",
        ["id"],
        "What this run did is not kept any more, so it cannot be undone.",
    )
    await make_undo(finished, state=TaskState.RUNNING)
    assert await refusal(finished) == (
        "UNDO_UNDER_WAY",
        ["id"],
        "Runs of this import are being undone. Wait until that is done.",
    )


async def test_the_runs_of_others_are_unknown(client: Client, stranger: Client, finished: ImportRun) -> None:
    payload = (await stranger.data(UNDO, id=run_id(finished)))["undoImportRun"]

    assert [error["code"] for error in payload["userErrors"]] == ["NOT_FOUND"]
    assert (await ImportRun.get(id=finished.id)).state == RunState.COMPLETED
    assert (await AutomaticImport.get(id=finished.automatic_import_id)).state == ImportState.ACTIVE


async def test_undoing_needs_the_write_scope(client: Client, finished: ImportRun) -> None:
    token = await account.create_token(client.account_id, scopes=["read"])
    reader = Client(client.http, client.account_id, token)

    code, _ = await reader.error(UNDO, id=run_id(finished))

    assert code == "FORBIDDEN"
    assert (await rows_of(client.account_id))["import_undo"] == []


async def test_an_import_is_deleted_at_once_and_undone_in_the_background(
    client: Client, automatic_import: AutomaticImport, finished: ImportRun
) -> None:
    import_id = global_id("AutomaticImport", automatic_import.id)

    payload = (await client.data(DELETE, id=import_id, undo=True))["deleteAutomaticImport"]

    undo_id = payload["importUndo"].pop("id")
    shown = await client.data("query ($id: ID!) { node(id: $id) { id } }", id=undo_id)
    assert payload == {
        "deletedAutomaticImportId": import_id,
        "importUndo": {"state": "QUEUED", "runCount": 1, "automaticImport": None},
        "userErrors": [],
    }
    assert shown == {"node": {"id": undo_id}}


async def test_an_import_is_deleted_without_undoing_by_default(
    client: Client, automatic_import: AutomaticImport, finished: ImportRun
) -> None:
    import_id = global_id("AutomaticImport", automatic_import.id)

    payload = (await client.data(DELETE, id=import_id, undo=False))["deleteAutomaticImport"]

    assert payload["importUndo"] is None
    assert (await rows_of(client.account_id))["background_task"] == []


async def test_an_undo_tells_what_became_of_every_record(client: Client, finished: ImportRun) -> None:
    ann, city = await make_contact(client.account_id, "ann@example.com"), await make_field(client.account_id, "S_CITY")
    undo = await make_undo(finished, total=3, counts={"REMOVED": 1, "PARTLY_RESTORED": 1})
    await make_undone_record(undo, "1")
    await make_undone_record(
        undo,
        "2",
        result=UndoResult.PARTLY_RESTORED,
        code=UndoCode.EMAIL_TAKEN,
        contact=ann,
        details=[
            {"kind": "FIELD", "id": str(city.id), "code": None},
            {"kind": "EMAIL", "id": None, "code": "EMAIL_TAKEN"},
        ],
    )

    data = await client.data(
        """query { importUndos { edges { node {
            state runCount progress { done total }
            counts { removed restored partlyRestored kept refused nothing }
            records { edges { node {
                externalId result code contact { email } importRun { state } values { kind targetId code }
            } } }
        } } } }"""
    )

    [shown] = [edge["node"] for edge in data["importUndos"]["edges"]]
    assert [edge["node"] for edge in shown.pop("records")["edges"]] == [
        {
            "externalId": "1",
            "result": "REMOVED",
            "code": None,
            "contact": None,
            "importRun": {"state": "COMPLETED"},
            "values": [],
        },
        {
            "externalId": "2",
            "result": "PARTLY_RESTORED",
            "code": "EMAIL_TAKEN",
            "contact": {"email": "ann@example.com"},
            "importRun": {"state": "COMPLETED"},
            "values": [
                {"kind": "FIELD", "targetId": global_id("Field", city.id), "code": None},
                {"kind": "EMAIL", "targetId": None, "code": "EMAIL_TAKEN"},
            ],
        },
    ]
    assert shown == {
        "state": "COMPLETED",
        "runCount": 1,
        "progress": {"done": 2, "total": 3},
        "counts": {"removed": 1, "restored": 0, "partlyRestored": 1, "kept": 0, "refused": 0, "nothing": 0},
    }


async def test_what_became_of_records_is_paged_and_filtered(client: Client, finished: ImportRun) -> None:
    undo = await make_undo(finished)
    for number in range(3):
        await make_undone_record(undo, str(number))
    await make_undone_record(undo, "kept", result=UndoResult.KEPT, code=UndoCode.TOUCHED)
    node_id = global_id("ImportUndo", undo.id)

    async def found(**arguments: Any) -> tuple[list[str], Any]:
        records = (await client.data(RECORDS, id=node_id, **arguments))["node"]["records"]
        return [edge["node"]["externalId"] for edge in records["edges"]], records["pageInfo"]

    first, info = await found(first=3)
    rest, _ = await found(first=3, after=info["endCursor"])

    assert (first, info["hasNextPage"], rest) == (["0", "1", "2"], True, ["kept"])
    assert (await found(filter={"result": "KEPT"}))[0] == ["kept"]
    assert (await found(filter={"code": "TOUCHED"}))[0] == ["kept"]
    assert (await found(filter={"code": "EMAIL_TAKEN"}))[0] == []


async def test_undos_are_listed_newest_first_for_their_account_and_import(
    client: Client, stranger: Client, automatic_import: AutomaticImport, finished: ImportRun
) -> None:
    other = await make_run(await make_import(await make_external_account(client.account_id)))
    undos = [await make_undo(finished), await make_undo(other), await make_undo(finished)]
    query = "query ($filter: ImportUndoFilter) { importUndos(filter: $filter) { edges { node { id } } } }"

    async def found(asking: Client, **filter_: str) -> list[str]:
        return [edge["node"]["id"] for edge in (await asking.data(query, filter=filter_))["importUndos"]["edges"]]

    ids = [global_id("ImportUndo", undo.id) for undo in undos]
    assert await found(client) == [ids[2], ids[1], ids[0]]
    assert await found(client, automaticImportId=global_id("AutomaticImport", automatic_import.id)) == [ids[2], ids[0]]
    assert await found(stranger) == []
