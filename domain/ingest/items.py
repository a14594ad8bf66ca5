"""A record on its way in, in the form that is compared and kept: JSON, and the digest of that JSON."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from domain.emails import parse_email
from domain.fields import is_storable_key
from domain.records import FieldValue, Record

DIGEST_BYTES = 16
MAX_EXTERNAL_ID = 512
"""Longer ids do not fit an index; they are kept as their hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One record. `forced` items come from the ledger, and are ingested though their digest is not new.

    `snapshot` is `{"email", "first_name", "last_name", "phone", "consent", "values"}`.
    """

    external_id: str
    snapshot: Mapping[str, Any]
    json: str
    digest: bytes
    rejected: bool = False
    forced: bool = False


def item_of(record: Record) -> Item:
    """`record` as an item; rejected where it cannot even be written as JSON (a lone surrogate)."""
    snapshot = {
        "email": record.email,
        "first_name": record.first_name,
        "last_name": record.last_name,
        "phone": record.phone,
        "consent": record.consent.value,
        "values": {key: _within_json(value) for key, value in record.values.items()},
    }
    external_id = storable_id(record.external_id)
    try:
        encoded = orjson.dumps(snapshot, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        digest = _digest(repr(snapshot).encode("utf-8", "backslashreplace"))
        return Item(external_id=external_id, snapshot={}, json="{}", digest=digest, rejected=True)
    return Item(
        external_id=external_id,
        # As the ledger will give it back: dates as text, tuples as lists.
        snapshot=orjson.loads(encoded),
        json=encoded.decode(),
        digest=_digest(encoded),
    )


def item_of_ledger(external_id: str, record: str, digest: bytes) -> Item:
    """The record of a ledger row, to be ingested again."""
    return Item(external_id=external_id, snapshot=orjson.loads(record), json=record, digest=digest, forced=True)


def storable_id(external_id: str) -> str:
    """`external_id` as the ledger's key."""
    encoded = external_id.encode("utf-8", "backslashreplace")
    if len(encoded) <= MAX_EXTERNAL_ID and "\0" not in external_id and encoded.decode() == external_id:
        return external_id
    return "sha256:" + hashlib.sha256(encoded).hexdigest()


def seen_values(items: Sequence[Item]) -> dict[str, list[str]]:
    """The external ids of the items that bring a value, by its key; of those with a valid address only."""
    seen: dict[str, list[str]] = {}
    for item in items:
        if item.rejected or parse_email(item.snapshot["email"] or "") is None:
            continue
        for key, value in item.snapshot["values"].items():
            if value not in (None, "", []) and is_storable_key(key):
                seen.setdefault(key, []).append(item.external_id)
    return seen


def _within_json(value: FieldValue) -> FieldValue:
    """A number beyond 64 bits as text: the field decides whether it takes it."""
    return str(value) if isinstance(value, int) and abs(value) >= 2**63 else value


def _digest(encoded: bytes) -> bytes:
    return hashlib.blake2b(encoded, digest_size=DIGEST_BYTES).digest()
