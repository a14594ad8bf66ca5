"""What an automatic import is made of and what an edit may set, checked with every problem of the input at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from domain import database, import_targets
from domain.catalogue import Catalogue, find_service
from domain.enums import DeletionPolicy, OverwritePolicy
from domain.errors import ErrorCode, Problem, Refused
from domain.names import check_name


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportChanges:
    """What an edit sets; None leaves a thing as it is."""

    name: str | None = None
    criteria: Mapping[str, Any] | None = None
    list_ids: Sequence[UUID] | None = None
    tag_ids: Sequence[UUID] | None = None
    name_policy: OverwritePolicy | None = None
    phone_policy: OverwritePolicy | None = None
    deletion_policy: DeletionPolicy | None = None
    deletion_tag_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImport:
    """What a new automatic import is made of."""

    external_account_id: UUID
    name: str
    criteria: Mapping[str, Any] = field(default_factory=dict)
    list_ids: Sequence[UUID] = ()
    tag_ids: Sequence[UUID] = ()
    name_policy: OverwritePolicy = OverwritePolicy.ALWAYS
    phone_policy: OverwritePolicy = OverwritePolicy.ALWAYS
    deletion_policy: DeletionPolicy = DeletionPolicy.KEEP
    deletion_tag_id: UUID | None = None


def deletion_values(changes: ImportChanges, policy: DeletionPolicy, tag_id: UUID | None) -> dict[str, Any]:
    """`deletion_policy` and `deletion_tag_id` after an edit that sets one of them; else nothing.

    `policy` and `tag_id` are those before. Only the policy TAG keeps a tag, which cannot be deleted meanwhile.
    """
    if changes.deletion_policy is None and changes.deletion_tag_id is None:
        return {}
    policy = changes.deletion_policy or policy
    tag_id = changes.deletion_tag_id or tag_id
    return {"deletion_policy": policy, "deletion_tag_id": tag_id if policy is DeletionPolicy.TAG else None}


async def checked(
    account_id: UUID,
    catalogue: Catalogue,
    service: str,
    *,
    name: str | None = None,
    criteria: Mapping[str, Any],
    list_ids: Sequence[UUID],
    tag_ids: Sequence[UUID],
    deletion_policy: DeletionPolicy = DeletionPolicy.KEEP,
    deletion_tag_id: UUID | None = None,
) -> dict[str, Any]:
    """The criteria in canonical form; Refused with every problem of the input at once.

    `name` is None where none is needed.
    """
    problems: list[Problem] = []
    canonical: dict[str, Any] = {}
    try:
        if name is not None:
            check_name(name)
    except Refused as refused:
        problems += refused.problems
    try:
        canonical = catalogue.check_criteria(service, criteria)
    except Refused as refused:
        problems += refused.inside("criteria").problems
    async with database.transaction() as connection:
        problems += await import_targets.problems(
            connection,
            account_id,
            list_ids=list_ids,
            tag_ids=tag_ids,
            deletion_tag_id=deletion_tag_id if deletion_policy is DeletionPolicy.TAG else None,
        )
    problems += _problems_of_policy(catalogue, service, deletion_policy, deletion_tag_id)
    if problems:
        raise Refused(*problems)
    return canonical


def _problems_of_policy(
    catalogue: Catalogue, service: str, policy: DeletionPolicy, tag_id: UUID | None
) -> list[Problem]:
    """What stands against acting so on deletions at the service (R16)."""
    info = find_service(catalogue, service)
    if policy is DeletionPolicy.UNSUBSCRIBE and not info.tells_deletions:
        message = (
            f"{info.name} does not tell a deleted record from one that no longer matches: choose KEEP or TAG instead."
        )
        return [Problem(ErrorCode.INVALID, message, ("deletionPolicy",))]
    if policy is DeletionPolicy.TAG and tag_id is None:
        return [Problem(ErrorCode.BLANK, "Say which tag deleted records are to get.", ("deletionTagId",))]
    return []
