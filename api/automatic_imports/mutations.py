"""What can be done with automatic imports: translate in, call one use case, translate out."""

from uuid import UUID

import strawberry

from api.automatic_imports.inputs import (
    CreateAutomaticImportInput,
    DeleteAutomaticImportInput,
    PauseAutomaticImportInput,
    ResumeAutomaticImportInput,
    RunAutomaticImportInput,
    UpdateAutomaticImportInput,
)
from api.automatic_imports.payloads import (
    CreateAutomaticImportPayload,
    DeleteAutomaticImportPayload,
    PauseAutomaticImportPayload,
    ResumeAutomaticImportPayload,
    RunAutomaticImportPayload,
    UpdateAutomaticImportPayload,
)
from api.automatic_imports.types import AutomaticImport
from api.context import Info, account_id, tell, viewer
from api.import_undos import shown_undo
from api.node import key_of, keys_of, optional_key_of
from api.user_errors import object_of, user_errors
from domain import account_overview, automatic_imports
from domain.errors import Refused
from domain.import_inputs import ImportChanges, NewImport


@strawberry.type
class AutomaticImportMutations:
    @strawberry.mutation(
        description="Import the matching contacts of an external account, now and whenever something changes there. The"
        " first run starts at once."
    )
    async def create_automatic_import(
        self,
        info: Info,
        input: CreateAutomaticImportInput,  # noqa: A002
    ) -> CreateAutomaticImportPayload:
        external_account_id = key_of("ExternalAccount", input.external_account_id)
        list_ids, tag_ids = keys_of("ContactList", input.list_ids), keys_of("Tag", input.tag_ids)
        try:
            new = NewImport(
                external_account_id=external_account_id,
                name=input.name,
                criteria=object_of(input.criteria, "criteria") or {},
                list_ids=list_ids or (),
                tag_ids=tag_ids or (),
                name_policy=input.name_policy,
                phone_policy=input.phone_policy,
                deletion_policy=input.deletion_policy,
                deletion_tag_id=optional_key_of("Tag", input.deletion_tag_id),
            )
            created = await automatic_imports.create(
                viewer(info), new, catalogue=info.context.catalogue, queue=info.context.queue
            )
        except Refused as refused:
            return CreateAutomaticImportPayload(user_errors=user_errors(refused))
        await tell(info, [created.id])
        shown = (await automatic_imports.by_ids(account_id(info), [created.id]))[created.id]
        warnings = [*await automatic_imports.warnings(account_id(info), shown.service), *await _usage_warnings(info)]
        return CreateAutomaticImportPayload(automatic_import=AutomaticImport.of(shown), warnings=warnings)

    @strawberry.mutation(
        description="Change an automatic import. New criteria start again from the beginning; nothing ever removes"
        " contacts."
    )
    async def update_automatic_import(
        self,
        info: Info,
        input: UpdateAutomaticImportInput,  # noqa: A002
    ) -> UpdateAutomaticImportPayload:
        key = key_of("AutomaticImport", input.id)
        list_ids, tag_ids = keys_of("ContactList", input.list_ids), keys_of("Tag", input.tag_ids)
        try:
            changes = ImportChanges(
                name=input.name,
                criteria=object_of(input.criteria, "criteria"),
                list_ids=list_ids,
                tag_ids=tag_ids,
                name_policy=input.name_policy,
                phone_policy=input.phone_policy,
                deletion_policy=input.deletion_policy,
                deletion_tag_id=optional_key_of("Tag", input.deletion_tag_id),
            )
            await automatic_imports.update(
                viewer(info), key, changes, catalogue=info.context.catalogue, queue=info.context.queue
            )
        except Refused as refused:
            return UpdateAutomaticImportPayload(user_errors=user_errors(refused))
        await tell(info, [key])
        return UpdateAutomaticImportPayload(automatic_import=await _shown(info, key))

    @strawberry.mutation(
        description="Delete an automatic import. Its contacts and fields stay, unless `undo` is asked for."
    )
    async def delete_automatic_import(
        self,
        info: Info,
        input: DeleteAutomaticImportInput,  # noqa: A002
    ) -> DeleteAutomaticImportPayload:
        key = key_of("AutomaticImport", input.id)
        try:
            undo_id = await automatic_imports.delete(viewer(info), key, undo=input.undo)
        except Refused as refused:
            return DeleteAutomaticImportPayload(user_errors=user_errors(refused))
        await tell(info, [key])
        return DeleteAutomaticImportPayload(
            deleted_automatic_import_id=input.id, import_undo=await shown_undo(info, undo_id)
        )

    @strawberry.mutation(description="Stop importing until resumed; a page under way is dropped.")
    async def pause_automatic_import(
        self,
        info: Info,
        input: PauseAutomaticImportInput,  # noqa: A002
    ) -> PauseAutomaticImportPayload:
        key = key_of("AutomaticImport", input.id)
        try:
            await automatic_imports.pause(viewer(info), key)
        except Refused as refused:
            return PauseAutomaticImportPayload(user_errors=user_errors(refused))
        await tell(info, [key])
        return PauseAutomaticImportPayload(automatic_import=await _shown(info, key))

    @strawberry.mutation(description="Go on where the import was paused, at once.")
    async def resume_automatic_import(
        self,
        info: Info,
        input: ResumeAutomaticImportInput,  # noqa: A002
    ) -> ResumeAutomaticImportPayload:
        key = key_of("AutomaticImport", input.id)
        try:
            await automatic_imports.resume(viewer(info), key, queue=info.context.queue)
        except Refused as refused:
            return ResumeAutomaticImportPayload(user_errors=user_errors(refused))
        await tell(info, [key])
        return ResumeAutomaticImportPayload(
            automatic_import=await _shown(info, key), warnings=await _usage_warnings(info)
        )

    @strawberry.mutation(description="Check now, within the cap, instead of at the next cycle.")
    async def run_automatic_import(
        self,
        info: Info,
        input: RunAutomaticImportInput,  # noqa: A002
    ) -> RunAutomaticImportPayload:
        key = key_of("AutomaticImport", input.id)
        try:
            await automatic_imports.run_now(viewer(info), key, full=input.full, queue=info.context.queue)
        except Refused as refused:
            return RunAutomaticImportPayload(user_errors=user_errors(refused))
        await tell(info, [key])
        return RunAutomaticImportPayload(automatic_import=await _shown(info, key), warnings=await _usage_warnings(info))


async def _shown(info: Info, key: UUID) -> AutomaticImport | None:
    row = (await automatic_imports.by_ids(account_id(info), [key])).get(key)
    return AutomaticImport.of(row) if row is not None else None


async def _usage_warnings(info: Info) -> list[str]:
    warning = (await account_overview.usage(account_id(info))).warning
    return [] if warning is None else [warning]
