"""What can be done with automatic imports: translate in, call one use case, translate out."""

from collections.abc import Sequence
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from api.automatic_imports.types import AutomaticImport
from api.context import Info, account_id, viewer
from api.node import key_of, keys_of
from api.user_errors import UserError, object_of, user_errors
from domain import account_overview, automatic_imports, import_overview
from domain.automatic_imports import ImportChanges, NewImport
from domain.enums import OverwritePolicy
from domain.errors import Refused


@strawberry.input(description="A new automatic import.")
class CreateAutomaticImportInput:
    external_account_id: strawberry.ID = strawberry.field(description="The connected login to read.")
    name: str = strawberry.field(description="What to call it.")
    criteria: JSON | None = strawberry.field(
        default=None, description="An object that fits the service's `criteriaSchema`; left out, everything matches."
    )
    list_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Lists to subscribe its contacts to."
    )
    tag_ids: list[strawberry.ID] | None = strawberry.field(default=None, description="Tags to give its contacts.")
    name_policy: OverwritePolicy = strawberry.field(
        default=OverwritePolicy.ALWAYS, description="Whether names replace what a contact already has."
    )
    phone_policy: OverwritePolicy = strawberry.field(
        default=OverwritePolicy.ALWAYS, description="Whether the phone number does."
    )


@strawberry.input(description="What to change of an automatic import; what is left out or null stays.")
class UpdateAutomaticImportInput:
    id: strawberry.ID = strawberry.field(description="The automatic import.")
    name: str | None = strawberry.field(default=None, description="What to call it.")
    criteria: JSON | None = strawberry.field(
        default=None, description="New criteria start again from the beginning, and remove nobody."
    )
    list_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="All lists to subscribe its contacts to. Removing one removes nobody from it."
    )
    tag_ids: list[strawberry.ID] | None = strawberry.field(default=None, description="All tags to give its contacts.")
    name_policy: OverwritePolicy | None = strawberry.field(
        default=None, description="Whether names replace what a contact already has, from the next change on."
    )
    phone_policy: OverwritePolicy | None = strawberry.field(
        default=None, description="Whether the phone number does, from the next change on."
    )


@strawberry.input(description="An automatic import to delete.")
class DeleteAutomaticImportInput:
    id: strawberry.ID = strawberry.field(description="The automatic import.")


@strawberry.input(description="An automatic import to pause.")
class PauseAutomaticImportInput:
    id: strawberry.ID = strawberry.field(description="The automatic import.")


@strawberry.input(description="An automatic import to resume.")
class ResumeAutomaticImportInput:
    id: strawberry.ID = strawberry.field(description="The automatic import.")


@strawberry.input(description="An automatic import to check now.")
class RunAutomaticImportInput:
    id: strawberry.ID = strawberry.field(description="The automatic import.")
    full: bool = strawberry.field(default=False, description="Read everything again instead of what is new.")


@strawberry.type(description="What became of a wish for a new automatic import.")
class CreateAutomaticImportPayload:
    automatic_import: AutomaticImport | None = strawberry.field(
        default=None, description="The automatic import as it is now; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")
    warnings: Sequence[str] = strawberry.field(default=(), description="What is worth knowing, though it was done.")


@strawberry.type(description="What became of a wish to change an automatic import.")
class UpdateAutomaticImportPayload:
    automatic_import: AutomaticImport | None = strawberry.field(
        default=None, description="The automatic import as it is now; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.type(description="What became of a wish to pause an automatic import.")
class PauseAutomaticImportPayload:
    automatic_import: AutomaticImport | None = strawberry.field(
        default=None, description="The automatic import as it is now; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.type(description="What became of a wish to resume an automatic import.")
class ResumeAutomaticImportPayload:
    automatic_import: AutomaticImport | None = strawberry.field(
        default=None, description="The automatic import as it is now; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")
    warnings: Sequence[str] = strawberry.field(default=(), description="What is worth knowing, though it was done.")


@strawberry.type(description="What became of a wish to check now.")
class RunAutomaticImportPayload:
    automatic_import: AutomaticImport | None = strawberry.field(
        default=None, description="The automatic import as it is now; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")
    warnings: Sequence[str] = strawberry.field(default=(), description="What is worth knowing, though it was done.")


@strawberry.type(description="What became of a wish to delete an automatic import.")
class DeleteAutomaticImportPayload:
    deleted_automatic_import_id: strawberry.ID | None = strawberry.field(
        default=None, description="The id of what is gone; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


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
            )
            created = await automatic_imports.create(
                viewer(info), new, catalogue=info.context.catalogue, queue=info.context.queue
            )
        except Refused as refused:
            return CreateAutomaticImportPayload(user_errors=user_errors(refused))
        shown = (await import_overview.by_ids(account_id(info), [created.id]))[created.id]
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
            )
            await automatic_imports.update(
                viewer(info), key, changes, catalogue=info.context.catalogue, queue=info.context.queue
            )
        except Refused as refused:
            return UpdateAutomaticImportPayload(user_errors=user_errors(refused))
        return UpdateAutomaticImportPayload(automatic_import=await _shown(info, key))

    @strawberry.mutation(description="Delete an automatic import. Its contacts and fields stay.")
    async def delete_automatic_import(
        self,
        info: Info,
        input: DeleteAutomaticImportInput,  # noqa: A002
    ) -> DeleteAutomaticImportPayload:
        try:
            await automatic_imports.delete(viewer(info), key_of("AutomaticImport", input.id))
        except Refused as refused:
            return DeleteAutomaticImportPayload(user_errors=user_errors(refused))
        return DeleteAutomaticImportPayload(deleted_automatic_import_id=input.id)

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
        return RunAutomaticImportPayload(automatic_import=await _shown(info, key), warnings=await _usage_warnings(info))


async def _shown(info: Info, key: UUID) -> AutomaticImport | None:
    row = (await import_overview.by_ids(account_id(info), [key])).get(key)
    return AutomaticImport.of(row) if row is not None else None


async def _usage_warnings(info: Info) -> list[str]:
    warning = (await account_overview.usage(account_id(info))).warning
    return [] if warning is None else [warning]
