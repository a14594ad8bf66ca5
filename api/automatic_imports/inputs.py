"""What mutations of automatic imports take."""

import strawberry
from strawberry.scalars import JSON

from api.automatic_imports.policies import DeletionPolicy, OverwritePolicy


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
    deletion_policy: DeletionPolicy = strawberry.field(
        default=DeletionPolicy.KEEP, description="What happens to contacts that are deleted at the service."
    )
    deletion_tag_id: strawberry.ID | None = strawberry.field(
        default=None, description="The tag that they get, where the policy is TAG."
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
    deletion_policy: DeletionPolicy | None = strawberry.field(
        default=None, description="What happens to contacts that are deleted at the service from now on."
    )
    deletion_tag_id: strawberry.ID | None = strawberry.field(
        default=None, description="The tag that they get, where the policy is TAG."
    )


@strawberry.input(description="An automatic import to delete.")
class DeleteAutomaticImportInput:
    id: strawberry.ID = strawberry.field(description="The automatic import.")
    undo: bool = strawberry.field(
        default=False,
        description="Undo what its runs did, too, as far back as outcomes are kept: its contacts go, unless somebody"
        " touched them since.",
    )


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
