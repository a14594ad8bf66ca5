"""What users do with automatic imports: create, edit, pause, resume, run now, delete (R13).

Each change raises the import's revision in the transaction that makes it, so that a page under way is dropped and
the change wins (R14); what asks for a cycle sets `next_cycle_at` in that same transaction.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tortoise.expressions import F
from tortoise.queryset import QuerySet
from uuid_utils.compat import uuid7

from domain import (
    cycle,
    database,
    external_accounts,
    import_runs,
    import_targets,
    pausing,
    sweeps,
    waiting_room,
)
from domain.account import Viewer
from domain.audit import record_audit
from domain.automatic_imports.reading import counts_of_services
from domain.catalogue import Catalogue
from domain.enums import DeletionPolicy, ExternalAccountHealth, ImportState, RunTrigger
from domain.errors import ErrorCode, Problem, Refused, not_found
from domain.import_inputs import ImportChanges, NewImport, checked, deletion_values
from domain.models import AutomaticImport, ExternalAccount
from domain.queue import Queue
from domain.undo.begin import require_no_undo, undo_all_runs

ADVISED_PER_SERVICE = 2
"""More imports than this for one service are allowed, with a warning (R12)."""


async def create(viewer: Viewer, new: NewImport, *, catalogue: Catalogue, queue: Queue) -> AutomaticImport:
    """Create the import; its first run starts at once (R1)."""
    account_id = viewer.account_id
    external_account = await external_accounts.get(account_id, new.external_account_id)
    criteria = await checked(
        account_id, catalogue, external_account.service,
        name=new.name, criteria=new.criteria, list_ids=new.list_ids, tag_ids=new.tag_ids,
        deletion_policy=new.deletion_policy, deletion_tag_id=new.deletion_tag_id,
    )  # fmt: skip
    deletion_tag_id = new.deletion_tag_id if new.deletion_policy is DeletionPolicy.TAG else None
    import_id = uuid7()
    async with database.transaction():
        await _locked_external_account(account_id, external_account.id)
        await AutomaticImport.create(
            id=import_id,
            account_id=account_id,
            external_account_id=external_account.id,
            name=new.name.strip(),
            criteria=criteria,
            name_policy=new.name_policy,
            phone_policy=new.phone_policy,
            deletion_policy=new.deletion_policy,
            deletion_tag_id=deletion_tag_id,
        )
        await import_targets.set_targets(
            account_id, import_id, list_ids=new.list_ids, tag_ids=new.tag_ids, deletion_tag_id=deletion_tag_id
        )
        await _ask_for_cycle(account_id, external_account.id, import_id, RunTrigger.CREATED)
        await record_audit(viewer, "AUTOMATIC_IMPORT_CREATED", import_id)
    await queue.wake()
    return await get(account_id, import_id)


async def update(
    viewer: Viewer, import_id: UUID, changes: ImportChanges, *, catalogue: Catalogue, queue: Queue
) -> AutomaticImport:
    """Edit the import. New criteria start a backfill and remove nobody; other edits act from the next change on."""
    account_id = viewer.account_id
    current = await get(account_id, import_id)
    external_account = await external_accounts.get(account_id, current.external_account_id)
    deletion = deletion_values(changes, current.deletion_policy, current.deletion_tag_id)
    criteria = await checked(
        account_id,
        catalogue,
        external_account.service,
        name=changes.name if changes.name is not None else current.name,
        criteria=changes.criteria if changes.criteria is not None else current.criteria,
        list_ids=changes.list_ids or (),
        tag_ids=changes.tag_ids or (),
        **deletion,
    )
    async with _changing(viewer, import_id, "AUTOMATIC_IMPORT_UPDATED"):
        locked = await get(account_id, import_id)
        name = (changes.name if changes.name is not None else locked.name).strip()
        values: dict[str, Any] = {"name": name} | deletion
        for policy in ("name_policy", "phone_policy"):
            if getattr(changes, policy) is not None:
                values[policy] = getattr(changes, policy)
        if replace(changes, name=None) != ImportChanges():
            # A new name is nothing to a page under way; everything else is.
            values["revision"] = F("revision") + 1
        backfill = changes.criteria is not None and criteria != locked.criteria
        if backfill:
            values |= {"criteria": criteria} | _from_the_start() | _try_again()
            await waiting_room.leave(account_id, import_id)
            await _abandon_sweep(account_id, import_id, forget=True)
        if backfill and locked.state == ImportState.NEEDS_REVIEW:
            # What was to be judged will not come again.
            values["state"] = ImportState.ACTIVE
            await import_runs.cancel_open(account_id, [import_id])
        await _row(account_id, import_id).update(**values)
        added = await import_targets.set_targets(
            account_id,
            import_id,
            list_ids=changes.list_ids,
            tag_ids=changes.tag_ids,
            deletion_tag_id=deletion.get("deletion_tag_id"),
        )
        await import_targets.give_to_all(account_id, import_id, added)
        if backfill and locked.state != ImportState.PAUSED:
            await _ask_for_cycle(account_id, external_account.id, import_id, RunTrigger.USER)
    await queue.wake()
    return await get(account_id, import_id)


async def pause(viewer: Viewer, import_id: UUID, *, reason: str | None = None) -> AutomaticImport:
    """Stop importing until resumed; what a page under way would have written is dropped."""
    async with _changing(viewer, import_id, "AUTOMATIC_IMPORT_PAUSED"), database.transaction() as connection:
        await pausing.pause(connection, viewer.account_id, [import_id], reason=reason)
    return await get(viewer.account_id, import_id)


async def resume(viewer: Viewer, import_id: UUID, *, queue: Queue) -> AutomaticImport:
    """Go on from the checkpoint, at once."""
    async with _changing(viewer, import_id, "AUTOMATIC_IMPORT_RESUMED") as external_account:
        _require_healthy(external_account)
        _require_no_review(await get(viewer.account_id, import_id))
        async with database.transaction() as connection:
            await require_no_undo(connection, viewer.account_id, import_id)
        await _row(viewer.account_id, import_id).update(
            state=ImportState.ACTIVE,
            revision=F("revision") + 1,
            **_try_again(),
        )
        await _ask_for_cycle(viewer.account_id, external_account.id, import_id, RunTrigger.USER)
    await queue.wake()
    return await get(viewer.account_id, import_id)


async def run_now(viewer: Viewer, import_id: UUID, *, full: bool, queue: Queue) -> AutomaticImport:
    """Check now, within the cap. `full` forgets the checkpoint and reads from the start."""
    async with _changing(viewer, import_id, "AUTOMATIC_IMPORT_RUN") as external_account:
        _require_healthy(external_account)
        automatic_import = await get(viewer.account_id, import_id)
        if automatic_import.state == ImportState.PAUSED:
            raise Refused(Problem(ErrorCode.PAUSED, "This import is paused. Resume it first.", ("id",)))
        _require_no_review(automatic_import)
        if full:
            await read_all_again(viewer.account_id, import_id)
        else:
            # No new revision: what a page under way reads is what is asked for.
            await _row(viewer.account_id, import_id).update(**_try_again())
        await _ask_for_cycle(viewer.account_id, external_account.id, import_id, RunTrigger.USER)
    await queue.wake()
    return await get(viewer.account_id, import_id)


async def read_all_again(account_id: UUID, import_id: UUID) -> None:
    """Forget the checkpoint and earlier failures, in the transaction that holds the import and asks for a cycle."""
    await _row(account_id, import_id).update(**_from_the_start(), **_try_again(), revision=F("revision") + 1)
    await _abandon_sweep(account_id, import_id)


async def delete(viewer: Viewer, import_id: UUID, *, undo: bool = False) -> UUID | None:
    """Delete the import. Its contacts and fields stay, and so does its ledger: an import made anew finds them.

    With `undo`, its runs of which the outcomes are still kept are undone, in the background; the undo's id is returned.
    """
    account_id, undo_id = viewer.account_id, None
    async with _changing(viewer, import_id, "AUTOMATIC_IMPORT_DELETED"):
        await _row(account_id, import_id).update(deleted_at=datetime.now(UTC), revision=F("revision") + 1)
        await waiting_room.leave(account_id, import_id)
        await _abandon_sweep(account_id, import_id, forget=True)
        await import_runs.cancel_open(account_id, [import_id])
        if undo:
            undo_id = await undo_all_runs(viewer, import_id)
    return undo_id


async def get(account_id: UUID, import_id: UUID) -> AutomaticImport:
    """The import; Refused where this account has none with this id."""
    found = await _row(account_id, import_id).first()
    if found is None:
        raise not_found("automatic import", "id")
    return found


async def warnings(account_id: UUID, service: str) -> list[str]:
    """What is worth telling whoever created an import of `service` (R12)."""
    count = (await counts_of_services(account_id, [service]))[service]
    if count <= ADVISED_PER_SERVICE:
        return []
    return [f"You now have {count} automatic imports of {service}; more than {ADVISED_PER_SERVICE} are rarely needed."]


def _row(account_id: UUID, import_id: UUID) -> QuerySet[AutomaticImport]:
    return AutomaticImport.filter(account_id=account_id, id=import_id, deleted_at=None)


def _from_the_start() -> dict[str, Any]:
    """What an import needs to read everything again (R3)."""
    return {"checkpoint": None, "backlog": True, "source_remaining": None, "guard": {}}


def _try_again() -> dict[str, Any]:
    """What earlier failures leave behind does not hold up what a user asks for now."""
    return {"next_attempt_at": None, "consecutive_failures": 0, "state_reason": None}


@asynccontextmanager
async def _changing(viewer: Viewer, import_id: UUID, action: str) -> AsyncIterator[ExternalAccount]:
    """A transaction that holds the import and its external account, in lock order, and is audited."""
    current = await get(viewer.account_id, import_id)
    async with database.transaction():
        external_account = await _locked_external_account(viewer.account_id, current.external_account_id)
        if await _row(viewer.account_id, import_id).select_for_update(no_key=True).first() is None:
            raise not_found("automatic import", "id")
        yield external_account
        await record_audit(viewer, action, import_id)


async def _locked_external_account(account_id: UUID, external_account_id: UUID) -> ExternalAccount:
    row = ExternalAccount.filter(account_id=account_id, id=external_account_id)
    return await row.select_for_update(no_key=True).get()


async def _ask_for_cycle(account_id: UUID, external_account_id: UUID, import_id: UUID, trigger: RunTrigger) -> None:
    async with database.transaction() as connection:
        await import_runs.queue(connection, account_id=account_id, automatic_import_id=import_id, trigger=trigger)
        await cycle.ask_for(connection, account_id, external_account_id)


async def _abandon_sweep(account_id: UUID, import_id: UUID, *, forget: bool = False) -> None:
    """The sweep under way will not be completed; with `forget`, earlier ones are no measure either (R16)."""
    async with database.transaction() as connection:
        if forget:
            await sweeps.forget(connection, account_id, [import_id])
        await sweeps.abandon(connection, account_id, import_id)


def _require_no_review(automatic_import: AutomaticImport) -> None:
    if automatic_import.state == ImportState.NEEDS_REVIEW:
        message = "This import waits for your judgement. Approve its run, or drop it."
        raise Refused(Problem(ErrorCode.NEEDS_REVIEW, message, ("id",)))


def _require_healthy(external_account: ExternalAccount) -> None:
    if external_account.health != ExternalAccountHealth.HEALTHY:
        message = f"{external_account.label} is not connected any more. Reconnect it first."
        raise Refused(Problem(ErrorCode.NEEDS_RECONNECT, message, ("id",)))
