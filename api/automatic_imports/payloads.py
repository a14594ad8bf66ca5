"""What mutations of automatic imports answer."""

from collections.abc import Sequence

import strawberry

from api.automatic_imports.types import AutomaticImport
from api.import_undos import ImportUndo
from api.user_errors import UserError


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
    import_undo: ImportUndo | None = strawberry.field(
        default=None, description="The undoing of its runs, which has yet to begin; null where none was wanted."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")
