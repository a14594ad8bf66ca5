"""Asking for a preview of an automatic import."""

from collections.abc import Sequence

import strawberry
from strawberry.scalars import JSON

from api.context import Info, viewer
from api.import_previews.types import ImportPreview, shown
from api.node import key_of, keys_of, optional_key_of
from api.user_errors import UserError, object_of, user_errors
from domain import previews
from domain.enums import DeletionPolicy, OverwritePolicy
from domain.errors import Refused
from domain.previews import PreviewRequest


@strawberry.input(description="An automatic import that is not made yet, or with `automaticImportId` the edit of one.")
class PreviewAutomaticImportInput:
    external_account_id: strawberry.ID = strawberry.field(description="The connected login to read.")
    automatic_import_id: strawberry.ID | None = strawberry.field(
        default=None, description="The automatic import to be edited. What is left out or null stays as it has it."
    )
    criteria: JSON | None = strawberry.field(
        default=None, description="An object that fits the service's `criteriaSchema`; left out, everything matches."
    )
    list_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Lists to subscribe its contacts to."
    )
    tag_ids: list[strawberry.ID] | None = strawberry.field(default=None, description="Tags to give its contacts.")
    name_policy: OverwritePolicy | None = strawberry.field(
        default=None, description="Whether names replace what a contact already has; left out, ALWAYS."
    )
    phone_policy: OverwritePolicy | None = strawberry.field(
        default=None, description="Whether the phone number does; left out, ALWAYS."
    )
    deletion_policy: DeletionPolicy | None = strawberry.field(
        default=None, description="What happens to contacts that are deleted at the service; left out, KEEP."
    )
    deletion_tag_id: strawberry.ID | None = strawberry.field(
        default=None, description="The tag that they get, where the policy is TAG."
    )


@strawberry.type(description="What became of a wish for a preview.")
class PreviewAutomaticImportPayload:
    import_preview: ImportPreview | None = strawberry.field(
        default=None, description="The preview, which fills in the background; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.type
class ImportPreviewMutations:
    @strawberry.mutation(
        description="Find out what an automatic import would do, before it is made or edited. Nothing is imported."
    )
    async def preview_automatic_import(
        self,
        info: Info,
        input: PreviewAutomaticImportInput,  # noqa: A002
    ) -> PreviewAutomaticImportPayload:
        import_id = input.automatic_import_id
        external_account_id = key_of("ExternalAccount", input.external_account_id)
        import_key = optional_key_of("AutomaticImport", import_id)
        list_ids, tag_ids = keys_of("ContactList", input.list_ids), keys_of("Tag", input.tag_ids)
        try:
            wanted = PreviewRequest(
                external_account_id=external_account_id,
                automatic_import_id=import_key,
                criteria=object_of(input.criteria, "criteria"),
                list_ids=list_ids,
                tag_ids=tag_ids,
                name_policy=input.name_policy,
                phone_policy=input.phone_policy,
                deletion_policy=input.deletion_policy,
                deletion_tag_id=optional_key_of("Tag", input.deletion_tag_id),
            )
            preview_id = await previews.request(
                viewer(info), wanted, catalogue=info.context.catalogue, queue=info.context.queue
            )
        except Refused as refused:
            return PreviewAutomaticImportPayload(user_errors=user_errors(refused))
        return PreviewAutomaticImportPayload(import_preview=await shown(info, preview_id))
