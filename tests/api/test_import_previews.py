"""Previews of automatic imports over GraphQL."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.node import global_id
from connectors.base import AccessRevokedError, Page
from domain import background_tasks
from domain.account import create_token
from domain.models import BackgroundTask, ExternalAccount, ImportPreview
from domain.records import FieldSpec, FieldType
from jobs.background_tasks import run_background_task
from tests.api.conftest import Client
from tests.factories import make_external_account, make_import, make_list, make_tag, rows_of
from tests.fakes import RecordingQueue
from tests.jobs.scripted import Scripts, Stage, Step, page, record

ASK = """mutation ($input: PreviewAutomaticImportInput!) { previewAutomaticImport(input: $input) {
    importPreview { id state criteria automaticImport { name } externalAccount { label } recordsRead error { code } }
    userErrors { code field message }
} }"""
SHOW = """query ($id: ID!) { importPreview(id: $id) {
    state waitingUntil recordsRead remaining isEstimate cycles finishedAt
    counts { read created updated unchanged skipped waiting failed protected }
    reasons { outcome code count } fieldsToCreate { title type personalizationTag serviceKey }
    contactLimit { active activeAfter limit waiting waitingBefore letIn }
    reviews { kind read known affected blanked addressChanged consentLowered missing }
    deletions { deleted unsubscribed tagged missing } examples { externalId email outcome code notes }
    error { code message }
} }"""
VIP = FieldSpec(key="vip", title="VIP", type=FieldType.BOOLEAN)


@pytest.fixture
async def external_account(client: Client) -> ExternalAccount:
    return await make_external_account(client.account_id)


async def ask(client: Client, external_account: ExternalAccount, **values: Any) -> Any:
    wanted = {"externalAccountId": global_id("ExternalAccount", external_account.id), **values}
    return (await client.data(ASK, input=wanted))["previewAutomaticImport"]


async def worked(client: Client, external_account: ExternalAccount, *steps: Step) -> Any:
    """The preview, after a worker did its best with a service that takes these steps."""
    scripts = Scripts(steps={"main": list(steps)})
    stage = Stage(account_id=client.account_id, external_account_id=external_account.id, scripts=scripts)
    asked = await ask(client, external_account)
    [(account_id, task_id, lease_token)] = await background_tasks.claim_due(10)
    context = stage.context
    context["services"] = {"sample": scripts.service()}
    await run_background_task(context, str(account_id), str(task_id), str(lease_token))
    shown = (await client.data(SHOW, id=asked["importPreview"]["id"]))["importPreview"]
    return shown | {"finishedAt": shown["finishedAt"] is not None}


async def test_a_preview_is_asked_for_and_filled_later(
    client: Client, external_account: ExternalAccount, queue: RecordingQueue
) -> None:
    news, vip = await make_list(client.account_id), await make_tag(client.account_id)

    asked = await ask(
        client,
        external_account,
        criteria={"group": "1"},
        listIds=[global_id("ContactList", news.id)],
        tagIds=[global_id("Tag", vip.id)],
        namePolicy="IF_EMPTY",
        deletionPolicy="TAG",
        deletionTagId=global_id("Tag", vip.id),
    )

    preview = await ImportPreview.get()
    assert asked == {
        "importPreview": {
            "id": global_id("ImportPreview", preview.id),
            "state": "QUEUED",
            "criteria": {"group": "1"},
            "automaticImport": None,
            "externalAccount": {"label": "Sample shop"},
            "recordsRead": 0,
            "error": None,
        },
        "userErrors": [],
    }
    assert preview.input == {
        "criteria": {"group": "1"},
        "list_ids": [str(news.id)],
        "tag_ids": [str(vip.id)],
        "name_policy": "IF_EMPTY",
        "phone_policy": "ALWAYS",
        "deletion_policy": "TAG",
        "deletion_tag_id": str(vip.id),
        "starts_over": False,
    }
    [task] = await BackgroundTask.all()
    assert (task.kind, task.subject, queue.woken) == ("PREVIEW", preview.id, 1)


async def test_an_edit_takes_what_is_left_out_from_the_import(
    client: Client, external_account: ExternalAccount
) -> None:
    news, vip = await make_list(client.account_id), await make_tag(client.account_id)
    edited = await make_import(
        external_account,
        criteria={"group": "1"},
        contact_list=news,
        tag=vip,
        phone_policy="IF_EMPTY",
        deletion_policy="TAG",
        deletion_tag_id=vip.id,
    )
    import_id = global_id("AutomaticImport", edited.id)

    same = await ask(client, external_account, automaticImportId=import_id, listIds=[])
    other = await ask(client, external_account, automaticImportId=import_id, criteria={"group": "2"})

    unchanged, changed = await ImportPreview.all().order_by("id")
    assert same["importPreview"]["automaticImport"] == {"name": "Customers"}
    assert other["importPreview"]["criteria"] == {"group": "2"}
    assert unchanged.input == {
        "criteria": {"group": "1"},
        "list_ids": [],
        "tag_ids": [str(vip.id)],
        "name_policy": "ALWAYS",
        "phone_policy": "IF_EMPTY",
        "deletion_policy": "TAG",
        "deletion_tag_id": str(vip.id),
        "starts_over": False,
    }
    assert (changed.input["list_ids"], changed.input["starts_over"]) == ([str(news.id)], True)


async def test_every_problem_of_the_input_is_told_at_once(
    client: Client, external_account: ExternalAccount, stranger: Client, queue: RecordingQueue
) -> None:
    theirs = await make_list(stranger.account_id)
    before = await rows_of(client.account_id)

    refused = await ask(client, external_account, criteria={"nope": 1}, listIds=[global_id("ContactList", theirs.id)])

    assert refused == {
        "importPreview": None,
        "userErrors": [
            {"code": "INVALID", "field": ["criteria", "nope"], "message": "There is no such criterion."},
            {
                "code": "NOT_FOUND",
                "field": ["listIds", "0"],
                "message": "There is no list with this id in your account.",
            },
        ],
    }
    assert (await rows_of(client.account_id), queue.woken) == (before, 0)


async def test_an_edit_must_be_of_an_import_of_that_external_account(
    client: Client, external_account: ExternalAccount, stranger: Client
) -> None:
    elsewhere = await make_import(await make_external_account(client.account_id))
    theirs = await make_import(await make_external_account(stranger.account_id))

    answers = [
        await ask(client, external_account, automaticImportId=global_id("AutomaticImport", each.id))
        for each in (elsewhere, theirs)
    ]

    assert [answer["userErrors"] for answer in answers] == [
        [
            {
                "code": "INVALID",
                "field": ["externalAccountId"],
                "message": "This automatic import reads another external account. Give that one.",
            }
        ],
        [
            {
                "code": "NOT_FOUND",
                "field": ["automaticImportId"],
                "message": "There is no automatic import with this id in your account.",
            }
        ],
    ]
    assert await ImportPreview.all().count() == 0


async def test_a_finished_preview_tells_everything(client: Client, external_account: ExternalAccount) -> None:
    records = [record("1", values={"vip": True}), record("2", None)]

    shown = await worked(
        client, external_account, Page(records=records, checkpoint={"at": 2}, fields={"vip": VIP}, remaining=0)
    )

    assert shown == {
        "state": "COMPLETED",
        "waitingUntil": None,
        "recordsRead": 2,
        "remaining": 0,
        "isEstimate": False,
        "cycles": 1,
        "finishedAt": True,
        "counts": {
            "read": 2, "created": 1, "updated": 0, "unchanged": 0, "skipped": 1, "waiting": 0, "failed": 0,
            "protected": 0,
        },
        "reasons": [
            {"outcome": "CREATED", "code": None, "count": 1},
            {"outcome": "SKIPPED", "code": "NO_EMAIL", "count": 1},
        ],
        "fieldsToCreate": [
            {"title": "VIP", "type": "BOOLEAN", "personalizationTag": "SAMPLE_VIP", "serviceKey": "sample"}
        ],
        "contactLimit": {
            "active": 0, "activeAfter": 1, "limit": 10_000, "waiting": 0, "waitingBefore": 0, "letIn": 0,
        },
        "reviews": [],
        "deletions": {"deleted": 0, "unsubscribed": 0, "tagged": 0, "missing": 0},
        "examples": [
            {"externalId": "1", "email": "1@example.com", "outcome": "CREATED", "code": None, "notes": []},
            {"externalId": "2", "email": None, "outcome": "SKIPPED", "code": "NO_EMAIL", "notes": []},
        ],
        "error": None,
    }  # fmt: skip


async def test_a_failed_preview_says_what_to_do_and_keeps_what_it_found(
    client: Client, external_account: ExternalAccount
) -> None:
    shown = await worked(client, external_account, page("1", remaining=9), AccessRevokedError("Sample says no."))

    assert (shown["state"], shown["recordsRead"], shown["remaining"], shown["cycles"]) == ("FAILED", 1, 9, None)
    assert shown["error"] == {
        "code": "ACCESS_REVOKED",
        "message": "Sample says no. Reconnect the external account, then ask for a new preview.",
    }


async def test_progress_is_polled(client: Client, external_account: ExternalAccount) -> None:
    shown = await worked(client, external_account, page("1", "2", remaining=5, wait=timedelta(minutes=1)))

    assert (shown["state"], shown["recordsRead"], shown["remaining"]) == ("RUNNING", 2, 5)
    assert (shown["counts"]["created"], shown["cycles"], shown["error"]) == (2, None, None)
    assert datetime.fromisoformat(shown["waitingUntil"]) > datetime.now(UTC)


async def test_a_preview_is_nobody_elses(client: Client, stranger: Client, external_account: ExternalAccount) -> None:
    preview_id = (await ask(client, external_account))["importPreview"]["id"]
    node = "query ($id: ID!) { node(id: $id) { id } }"

    assert (await stranger.data(SHOW, id=preview_id))["importPreview"] is None
    assert (await stranger.data(node, id=preview_id))["node"] is None
    assert (await client.data(node, id=preview_id))["node"] == {"id": preview_id}


async def test_a_token_that_may_only_read_cannot_ask_a_service(
    client: Client, external_account: ExternalAccount
) -> None:
    reader = Client(client.http, client.account_id, await create_token(client.account_id, scopes=["read"]))

    code, _ = await reader.error(ASK, input={"externalAccountId": global_id("ExternalAccount", external_account.id)})

    assert code == "FORBIDDEN"
    assert await ImportPreview.all().count() == 0
