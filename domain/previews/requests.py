"""Asking for a preview."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from domain import background_tasks, database, external_accounts, import_inputs, targets
from domain.account import Viewer
from domain.catalogue import Catalogue
from domain.enums import DeletionPolicy, OverwritePolicy, TaskKind, TaskState
from domain.errors import ErrorCode, Problem, Refused, not_found
from domain.import_inputs import ImportChanges
from domain.models import AutomaticImport, ImportPreview
from domain.queue import Queue

MOST_AT_ONCE = 5
"""Previews of one account, so that nobody else waits long behind them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRequest:
    """A new import, or with `automatic_import_id` the edit of one; there, None leaves a thing as it is."""

    external_account_id: UUID
    automatic_import_id: UUID | None = None
    criteria: Mapping[str, Any] | None = None
    list_ids: Sequence[UUID] | None = None
    tag_ids: Sequence[UUID] | None = None
    name_policy: OverwritePolicy | None = None
    phone_policy: OverwritePolicy | None = None
    deletion_policy: DeletionPolicy | None = None
    deletion_tag_id: UUID | None = None


async def request(viewer: Viewer, wanted: PreviewRequest, *, catalogue: Catalogue, queue: Queue) -> UUID:
    """Ask for a preview, which fills in the background; its id. Refused with every problem of the input at once."""
    account_id = viewer.account_id
    under_way = ImportPreview.filter(account_id=account_id, state__in=[TaskState.QUEUED, TaskState.RUNNING])
    if await under_way.count() >= MOST_AT_ONCE:
        message = f"{MOST_AT_ONCE} previews of your account are under way. Wait until one of them is done."
        raise Refused(Problem(ErrorCode.TOO_MANY, message))
    external_account = await external_accounts.get(account_id, wanted.external_account_id)
    current = await _edited(account_id, wanted)
    policy, tag_id = (current.deletion_policy, current.deletion_tag_id) if current else (DeletionPolicy.KEEP, None)
    changes = ImportChanges(deletion_policy=wanted.deletion_policy, deletion_tag_id=wanted.deletion_tag_id)
    deletion = import_inputs.deletion_values(changes, policy, tag_id)
    criteria = await import_inputs.checked(
        account_id,
        catalogue,
        external_account.service,
        criteria=_first_given(wanted.criteria, current and current.criteria, {}),
        list_ids=wanted.list_ids or (),
        tag_ids=wanted.tag_ids or (),
        **deletion,
    )
    list_ids, tag_ids = await _targets(account_id, wanted)
    preview_id = uuid7()
    always = OverwritePolicy.ALWAYS
    async with database.transaction() as connection:
        await ImportPreview.create(
            id=preview_id,
            account_id=account_id,
            external_account_id=external_account.id,
            automatic_import_id=wanted.automatic_import_id,
            input={
                "criteria": criteria,
                "list_ids": [str(list_id) for list_id in list_ids],
                "tag_ids": [str(tag_id) for tag_id in tag_ids],
                "name_policy": _first_given(wanted.name_policy, current and current.name_policy, always),
                "phone_policy": _first_given(wanted.phone_policy, current and current.phone_policy, always),
                "deletion_policy": deletion.get("deletion_policy", policy),
                "deletion_tag_id": _text(deletion.get("deletion_tag_id", tag_id)),
                "starts_over": current is not None and criteria != current.criteria,
            },
        )
        await background_tasks.enqueue(connection, account_id, TaskKind.PREVIEW, subject=preview_id)
    await queue.wake()
    return preview_id


async def _edited(account_id: UUID, wanted: PreviewRequest) -> AutomaticImport | None:
    if wanted.automatic_import_id is None:
        return None
    current = await AutomaticImport.get_or_none(account_id=account_id, id=wanted.automatic_import_id, deleted_at=None)
    if current is None:
        raise not_found("automatic import", "automaticImportId")
    if current.external_account_id != wanted.external_account_id:
        message = "This automatic import reads another external account. Give that one."
        raise Refused(Problem(ErrorCode.INVALID, message, ("externalAccountId",)))
    return current


async def _targets(account_id: UUID, wanted: PreviewRequest) -> tuple[Sequence[UUID], Sequence[UUID]]:
    """The lists and tags that are asked for, else those that the import to be edited has."""
    import_id = wanted.automatic_import_id
    list_ids, tag_ids = wanted.list_ids or (), wanted.tag_ids or ()
    if import_id is not None and wanted.list_ids is None:
        list_ids = [row.id for row in (await targets.lists_of_imports(account_id, [import_id]))[import_id]]
    if import_id is not None and wanted.tag_ids is None:
        tag_ids = [row.id for row in (await targets.tags_of_imports(account_id, [import_id]))[import_id]]
    return list(dict.fromkeys(list_ids)), list(dict.fromkeys(tag_ids))


def _text(key: UUID | None) -> str | None:
    return str(key) if key is not None else None


def _first_given(*values: Any) -> Any:
    return next(value for value in values if value is not None)
