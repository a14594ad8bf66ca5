"""Live progress over WebSocket and SSE, from a real server over a real Redis."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from tortoise.expressions import F
from websockets.exceptions import ConnectionClosed

from api.limits import MAX_BODY_BYTES
from api.node import global_id
from domain import background_tasks, database
from domain.enums import RunState, RunTrigger, TaskKind, TaskState
from domain.models import ApiToken, BackgroundTask, ExternalAccount, ImportRun, Tag
from tests.api.live import Live, message, progress, running_server, socket, subscribe
from tests.databases import lose_database
from tests.factories import make_account, make_external_account, make_import, make_run

OF_RUN = "subscription ($id: ID) { importRunProgress(runId: $id) { id state revision counts { read } } }"
OF_IMPORT = "subscription ($id: ID) { importRunProgress(automaticImportId: $id) { id state revision } }"
OF_ACCOUNT = "subscription { accountImportProgress { id state revision automaticImport { name } } }"


@pytest.fixture
async def live(database: None) -> AsyncIterator[Live]:
    async with running_server() as server:
        yield server


async def test_a_run_is_told_from_its_present_state_to_its_end(live: Live) -> None:
    run = await live.begin()
    async with socket(live) as connection:
        await subscribe(connection, OF_RUN, id=global_id("ImportRun", run.id))

        first = await progress(connection)
        await live.change(run, read_count=5, created_count=5)
        second = await progress(connection)
        await live.change(run, state=RunState.COMPLETED)
        third = await progress(connection)
        end = await message(connection)

    run_id = global_id("ImportRun", run.id)
    assert first == {"id": run_id, "state": "RUNNING", "revision": 1, "counts": {"read": 0}}
    assert second == {"id": run_id, "state": "RUNNING", "revision": 2, "counts": {"read": 5}}
    assert third == {"id": run_id, "state": "COMPLETED", "revision": 3, "counts": {"read": 5}}
    assert end == {"id": "1", "type": "complete"}


async def test_a_run_that_is_over_is_told_once(live: Live) -> None:
    run = await live.begin(RunState.FAILED)
    async with socket(live) as connection:
        await subscribe(connection, OF_RUN, id=global_id("ImportRun", run.id))

        assert (await progress(connection))["state"] == "FAILED"
        assert await message(connection) == {"id": "1", "type": "complete"}


@pytest.mark.parametrize("by", ["task", "cycle"])
async def test_a_run_that_lets_in_is_told_until_nobody_more_is_let_in(live: Live, by: str) -> None:
    account_id = live.automatic_import.account_id
    run = await make_run(live.automatic_import, trigger=RunTrigger.ROOM, last_checked_at=datetime.now(UTC))
    drains = BackgroundTask.filter(account_id=account_id)
    leased = ExternalAccount.filter(account_id=account_id)
    later = datetime.now(UTC) + timedelta(minutes=1)
    if by == "task":
        async with database.transaction() as connection:
            await background_tasks.enqueue(connection, account_id, TaskKind.DRAIN_WAITING_ROOM, subject=account_id)
        await drains.update(state=TaskState.RUNNING)
    else:
        await leased.update(lease_token=uuid4(), lease_expires_at=later)
    async with socket(live) as connection:
        await subscribe(connection, OF_RUN, id=global_id("ImportRun", run.id))

        told = [await progress(connection)]
        await live.change(run, read_count=500, created_count=500)
        told.append(await progress(connection))
        await drains.update(progress={str(run.automatic_import_id): str(run.id)})
        await live.change(run, read_count=508, created_count=508)
        told.append(await progress(connection))
        await drains.update(state=TaskState.COMPLETED)
        await leased.update(lease_token=None, lease_expires_at=None)
        end = await message(connection)

    assert [(each["state"], each["counts"]["read"]) for each in told] == [
        ("COMPLETED", 0),
        ("COMPLETED", 500),
        ("COMPLETED", 508),
    ]
    assert end == {"id": "1", "type": "complete"}


@pytest.mark.parametrize("by", ["task", "cycle"])
async def test_a_run_that_let_in_before_is_over_while_another_does(live: Live, by: str) -> None:
    account_id = live.automatic_import.account_id
    run = await make_run(
        live.automatic_import, trigger=RunTrigger.ROOM, last_checked_at=datetime.now(UTC) - timedelta(minutes=10)
    )
    if by == "task":
        async with database.transaction() as connection:
            await background_tasks.enqueue(connection, account_id, TaskKind.DRAIN_WAITING_ROOM, subject=account_id)
        await BackgroundTask.filter(account_id=account_id).update(
            state=TaskState.RUNNING, progress={str(run.automatic_import_id): str(uuid4())}
        )
    else:
        await ExternalAccount.filter(account_id=account_id).update(
            lease_token=uuid4(), lease_expires_at=datetime.now(UTC) + timedelta(minutes=1)
        )
    async with socket(live) as connection:
        await subscribe(connection, OF_RUN, id=global_id("ImportRun", run.id))

        assert (await progress(connection))["state"] == "COMPLETED"
        assert await message(connection) == {"id": "1", "type": "complete"}


async def test_at_most_four_states_a_second_and_the_final_one_always(live: Live) -> None:
    run = await live.begin()
    async with socket(live) as connection:
        await subscribe(connection, OF_RUN, id=global_id("ImportRun", run.id))
        states = [await progress(connection)]
        started = time.monotonic()

        for _ in range(100):
            await live.change(run, read_count=F("read_count") + 1, created_count=F("created_count") + 1)
            await asyncio.sleep(0.01)
        await live.change(run, state=RunState.COMPLETED)
        while states[-1]["state"] != "COMPLETED":
            states.append(await progress(connection))
        seconds = time.monotonic() - started

    assert len(states) <= 1 + 4 * seconds + 1
    assert len(states) >= 3
    revisions = [state["revision"] for state in states]
    assert revisions == sorted(set(revisions))
    assert (revisions[-1], states[-1]["counts"]) == (102, {"read": 100})


async def test_an_import_is_told_run_after_run(live: Live) -> None:
    first = await live.begin()
    async with socket(live) as connection:
        await subscribe(connection, OF_IMPORT, id=global_id("AutomaticImport", live.automatic_import.id))
        assert (await progress(connection))["id"] == global_id("ImportRun", first.id)

        # The first run ends and the second begins between two looks: the end of the first is told all the same.
        await ImportRun.filter(id=first.id).update(state=RunState.COMPLETED, revision=2)
        second = await live.begin(RunState.QUEUED)
        await live.tell(second)

        told = [await progress(connection), await progress(connection)]
        await live.change(second, state=RunState.RUNNING)
        told.append(await progress(connection))

    assert [(state["id"], state["state"], state["revision"]) for state in told] == [
        (global_id("ImportRun", first.id), "COMPLETED", 2),
        (global_id("ImportRun", second.id), "QUEUED", 1),
        (global_id("ImportRun", second.id), "RUNNING", 2),
    ]


async def test_an_account_is_told_of_all_its_imports(live: Live) -> None:
    run = await live.begin()
    external_account = await make_external_account(live.automatic_import.account_id)
    async with socket(live) as connection:
        await subscribe(connection, OF_ACCOUNT)
        assert (await progress(connection))["automaticImport"] == {"name": "Customers"}

        another = await make_run(await make_import(external_account, name="Friends"), state=RunState.RUNNING)
        await live.tell(another)
        assert (await progress(connection))["automaticImport"] == {"name": "Friends"}
        await live.change(run, state=RunState.COMPLETED)
        assert await progress(connection) == {
            "id": global_id("ImportRun", run.id),
            "state": "COMPLETED",
            "revision": 2,
            "automaticImport": {"name": "Customers"},
        }


async def test_what_happens_while_redis_is_lost_is_told_when_it_is_back(live: Live) -> None:
    run = await live.begin()
    async with socket(live) as connection:
        await subscribe(connection, OF_RUN, id=global_id("ImportRun", run.id))
        await progress(connection)

        await live.lose_redis()
        await live.change(run, state=RunState.COMPLETED)

        assert (await progress(connection))["state"] == "COMPLETED"


async def test_a_notice_that_is_lost_for_good_is_made_up_for(live: Live) -> None:
    run = await live.begin()
    async with socket(live) as connection:
        await subscribe(connection, OF_RUN, id=global_id("ImportRun", run.id))
        await progress(connection)

        await ImportRun.filter(id=run.id).update(state=RunState.COMPLETED, revision=2)

        assert (await progress(connection))["state"] == "COMPLETED"


async def test_a_client_that_comes_back_is_right_at_once(live: Live) -> None:
    run = await live.begin()
    async with socket(live) as connection:
        await subscribe(connection, OF_RUN, id=global_id("ImportRun", run.id))
        await progress(connection)
    await live.change(run, read_count=7, created_count=7)

    async with socket(live) as connection:
        await subscribe(connection, OF_RUN, id=global_id("ImportRun", run.id))
        state = await progress(connection)

    assert (state["revision"], state["counts"]) == (2, {"read": 7})


@pytest.mark.parametrize("payload", [{}, {"authorization": "Bearer slc_unknown"}, {"authorization": 1}])
async def test_a_socket_that_brings_no_valid_token_is_closed(live: Live, payload: object) -> None:
    with pytest.raises(ConnectionClosed) as closed:
        async with socket(live, payload):
            pass

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403


async def test_a_revoked_token_ends_what_it_follows_and_opens_nothing_more(live: Live) -> None:
    run = await live.begin()
    async with socket(live) as connection:
        await subscribe(connection, OF_RUN, id=global_id("ImportRun", run.id))
        await progress(connection)

        await ApiToken.filter(account_id=run.account_id).update(revoked_at=datetime.now(UTC))
        await live.change(run, read_count=1, created_count=1)
        told = await message(connection)
        assert told["payload"] == {
            "data": None,
            "errors": [
                {
                    "message": "This token was revoked. Ask for a new one.",
                    "extensions": {"code": "UNAUTHENTICATED"},
                }
            ],
        }
        assert await message(connection) == {"id": "1", "type": "complete"}

        await subscribe(connection, "{ account { name } }", "2")
        with pytest.raises(ConnectionClosed) as closed:
            await message(connection)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403


AWAY = "The server cannot reach its database at the moment. Try again in a few seconds."


async def test_while_the_database_is_away_a_new_socket_is_closed_with_that_reason(live: Live) -> None:
    await lose_database()

    with pytest.raises(ConnectionClosed) as closed:
        async with socket(live):
            pass

    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, AWAY)


async def test_while_the_database_is_away_an_operation_closes_its_socket_with_that_reason(live: Live) -> None:
    async with socket(live) as connection:
        await lose_database()
        await subscribe(connection, "{ account { name } }")
        with pytest.raises(ConnectionClosed) as closed:
            await message(connection)

    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, AWAY)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("", "BAD_USER_INPUT"),
        ('(runId: "%(run)s", automaticImportId: "%(import)s")', "BAD_USER_INPUT"),
        ('(runId: "%(import)s")', "BAD_USER_INPUT"),
        ('(runId: "%(other)s")', "NOT_FOUND"),
    ],
)
async def test_what_cannot_be_followed_is_refused(live: Live, arguments: str, code: str) -> None:
    run = await live.begin()
    stranger = await make_account()
    theirs = await make_run(await make_import(await make_external_account(stranger.id)))
    ids = {
        "run": global_id("ImportRun", run.id),
        "import": global_id("AutomaticImport", live.automatic_import.id),
        "other": global_id("ImportRun", theirs.id),
    }
    async with socket(live) as connection:
        await subscribe(connection, f"subscription {{ importRunProgress{arguments % ids} {{ id }} }}")
        told = await message(connection)

    [error] = told["payload"]["errors"]
    assert error["extensions"]["code"] == code


async def test_queries_and_mutations_run_over_the_socket_too(live: Live) -> None:
    async with socket(live) as connection:
        await subscribe(connection, 'mutation { createTag(input: {name: "vip"}) { tag { name } } }')
        assert (await message(connection))["payload"] == {"data": {"createTag": {"tag": {"name": "vip"}}}}
        assert (await message(connection))["type"] == "complete"
        await subscribe(connection, "{ tags { edges { node { name } } } }", "2")
        assert (await message(connection))["payload"] == {"data": {"tags": {"edges": [{"node": {"name": "vip"}}]}}}


async def test_several_operations_without_a_name_are_refused_over_the_socket_too(live: Live) -> None:
    document = """mutation A { createTag(input: {name: "a"}) { tag { id } } }
    mutation B { createTag(input: {name: "b"}) { tag { id } } }"""
    async with socket(live) as connection:
        await subscribe(connection, document)
        refused = await message(connection)
        await subscribe(connection, "{ __typename }", name="2")
        answered = await message(connection)

    told = "This document has several operations. Say in `operationName` which of them to run."
    error = {"message": told, "extensions": {"code": "BAD_USER_INPUT"}}
    assert refused == {"id": "1", "type": "error", "payload": [error]}
    assert answered == {"id": "2", "type": "next", "payload": {"data": {"__typename": "Query"}}}
    assert await Tag.filter(account_id=live.automatic_import.account_id).count() == 0


async def test_a_message_larger_than_any_honest_one_closes_the_socket(live: Live) -> None:
    async with socket(live) as connection:
        await subscribe(connection, "#" * (MAX_BODY_BYTES + 1))
        with pytest.raises(ConnectionClosed) as closed:
            await message(connection)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_progress_comes_over_sse_too(live: Live) -> None:
    run = await live.begin()
    request = {"query": OF_RUN, "variables": {"id": global_id("ImportRun", run.id)}}
    headers = {"Authorization": f"Bearer {live.token}", "Accept": "text/event-stream"}
    states = []
    async with (
        httpx.AsyncClient(trust_env=False) as http,
        http.stream("POST", f"http://{live.address}/graphql", json=request, headers=headers) as response,
    ):
        lines = response.aiter_lines()
        async for line in lines:
            if line.startswith("data:") and line.strip() != "data:":
                states.append(json.loads(line.removeprefix("data:"))["data"]["importRunProgress"])
                await live.change(run, state=RunState.COMPLETED)
            if line == "event: complete":
                break

    assert response.headers["content-type"].startswith("text/event-stream")
    assert [(state["state"], state["revision"]) for state in states] == [("RUNNING", 1), ("COMPLETED", 2)]
