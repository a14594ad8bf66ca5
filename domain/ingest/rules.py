"""The settings of the import that a page is stored for, read while its turn is held."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from domain import suppressions, turns
from domain.database import Connection
from domain.enums import DeletionPolicy, OverwritePolicy
from domain.turns import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The import's own settings, and the account's key for hashing addresses."""

    account_id: UUID
    external_account_id: UUID
    hash_key: bytes
    name_policy: OverwritePolicy
    phone_policy: OverwritePolicy
    list_ids: Sequence[UUID]
    tag_ids: Sequence[UUID]
    window_used: int
    unstable_ids: bool
    deletion_policy: DeletionPolicy
    deletion_tag_id: UUID | None
    guard: Mapping[str, Any]


RULES = """,
    i.name_policy, i.phone_policy, i.deletion_policy, i.deletion_tag_id, i.guard::text,
    (SELECT email_hash_key FROM account WHERE id = e.account_id),
    ARRAY(SELECT list_id FROM automatic_import_list t
        WHERE t.account_id = i.account_id AND t.automatic_import_id = i.id) AS list_ids,
    ARRAY(SELECT tag_id FROM automatic_import_tag t
        WHERE t.account_id = i.account_id AND t.automatic_import_id = i.id) AS tag_ids
"""


async def load_rules(connection: Connection, turn: Turn) -> Rules:
    """Hold the turn, and read the import's settings."""
    return rules_of(await turns.hold(connection, turn, reading=RULES), turn)


def rules_of(row: Mapping[str, Any], turn: Turn) -> Rules:
    """The settings in a row that has `RULES`, and what the external account has used of its cap."""
    return Rules(
        account_id=turn.account_id,
        external_account_id=turn.external_account_id,
        hash_key=suppressions.hash_key(row["email_hash_key"], turn.account_id),
        name_policy=OverwritePolicy(row["name_policy"]),
        phone_policy=OverwritePolicy(row["phone_policy"]),
        list_ids=row["list_ids"],
        tag_ids=row["tag_ids"],
        window_used=row["window_used"],
        unstable_ids=turn.unstable_ids,
        deletion_policy=DeletionPolicy(row["deletion_policy"]),
        deletion_tag_id=row["deletion_tag_id"],
        guard=orjson.loads(row["guard"]),
    )
