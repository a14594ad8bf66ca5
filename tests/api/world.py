"""One of everything that an account can have."""

from dataclasses import dataclass
from uuid import UUID

from api.node import global_id
from domain.enums import RunState
from tests.factories import (
    make_attempt,
    make_contact,
    make_external_account,
    make_field,
    make_import,
    make_ledger_row,
    make_list,
    make_outcome,
    make_preview,
    make_run,
    make_tag,
    make_undo,
    make_undone_record,
    subscribe,
    tag_contact,
)


@dataclass(frozen=True, slots=True)
class World:
    """One of everything, by the name of its type."""

    ids: dict[str, str]


async def make_world(account_id: UUID) -> World:
    contact, news, vip = await make_contact(account_id), await make_list(account_id), await make_tag(account_id)
    await subscribe(contact, news)
    await tag_contact(contact, vip)
    external_account = await make_external_account(account_id)
    automatic_import = await make_import(external_account, contact_list=news, tag=vip)
    run = await make_run(automatic_import, state=RunState.QUEUED)
    await make_ledger_row(automatic_import, "r1", contact=contact)
    await make_outcome(run, "r1", contact=contact)
    undo = await make_undo(run)
    await make_undone_record(undo, "r1", contact=contact)
    keys = {
        "Account": account_id,
        "Contact": contact.id,
        "ContactList": news.id,
        "Tag": vip.id,
        "Field": (await make_field(account_id, "SAMPLE_CITY")).id,
        "ExternalAccount": external_account.id,
        "AutomaticImport": automatic_import.id,
        "ImportRun": run.id,
        "ImportUndo": undo.id,
        "ImportPreview": (await make_preview(external_account)).id,
        "ServiceAuthorizationAttempt": (await make_attempt(external_account)).id,
    }
    return World({name: global_id(name, key) for name, key in keys.items()})
