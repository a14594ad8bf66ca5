"""A record on its way in: the digest by which it is compared, and the JSON that is kept of one that is news."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from domain.emails import parse_email
from domain.fields import is_storable_key
from domain.records import Record

DIGEST_BYTES = 16
MAX_EXTERNAL_ID = 512
"""Longer ids do not fit an index; they are kept as their hash."""
MAX_RECORD_BYTES = 2 * 1024 * 1024
"""Of the JSON that is kept. No service knows as much of a person, and whatever reads the ledger would carry it."""
NUL_IN_JSON = b"\\u0000"
"""Or a backslash that somebody wrote before `u0000`."""


@dataclass(slots=True)
class Item:
    """One record, never changed. `forced` items come from the ledger, and are ingested though their digest is not new.

    `snapshot` is `{"email", "first_name", "last_name", "phone", "consent", "values"}`.
    """

    external_id: str
    snapshot: Mapping[str, Any]
    json: str
    digest: bytes
    rejected: bool = False
    forced: bool = False


@dataclass(slots=True)
class Sighting:
    """A record as a page brings it: as much as it takes to tell whether it is news. `item`: all of it, once made."""

    external_id: str
    digest: bytes
    record: Record
    item: Item | None = None


Identified = TypeVar("Identified", Sighting, Item)


def sighting_of(record: Record) -> Sighting:
    """`record` with the id and the digest that the ledger knows it by."""
    # A tuple takes half of what a dataclass takes.
    told = (record.email, record.first_name, record.last_name, record.phone, record.consent, record.values)
    try:
        encoded = orjson.dumps(told, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        encoded = repr(record).encode("utf-8", "backslashreplace")
    return Sighting(storable_id(record.external_id), _digest(encoded), record)


def item_of(seen: Sighting) -> Item:
    """The record as an item; rejected where its text cannot be stored (a lone surrogate, a NUL character) or is big."""
    if seen.item is None:
        seen.item = _item_of(seen)
    return seen.item


def _item_of(seen: Sighting) -> Item:
    record = seen.record
    snapshot = {
        "email": record.email,
        "first_name": record.first_name,
        "last_name": record.last_name,
        "phone": record.phone,
        "consent": record.consent,
        # A number beyond 64 bits as text: the field decides whether it takes it.
        "values": {
            key: str(value) if isinstance(value, int) and not -(2**63) < value < 2**63 else value
            for key, value in record.values.items()
        },
    }
    try:
        encoded = orjson.dumps(snapshot, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        return _rejected(seen)
    if len(encoded) > MAX_RECORD_BYTES:
        return _rejected(seen)
    # As the ledger will give it back: dates as text, tuples as lists.
    stored = orjson.loads(encoded)
    if NUL_IN_JSON in encoded and _contains_nul(stored):
        return _rejected(seen)
    return Item(seen.external_id, stored, encoded.decode(), seen.digest)


def _rejected(seen: Sighting) -> Item:
    return Item(external_id=seen.external_id, snapshot={}, json="{}", digest=seen.digest, rejected=True)


def item_of_ledger(external_id: str, record: str, digest: bytes) -> Item:
    """The record of a ledger row, to be ingested again."""
    return Item(external_id=external_id, snapshot=orjson.loads(record), json=record, digest=digest, forced=True)


def storable_id(external_id: str) -> str:
    """`external_id` as the ledger's key."""
    if len(external_id) <= MAX_EXTERNAL_ID and external_id.isascii() and "\0" not in external_id:
        return external_id
    encoded = external_id.encode("utf-8", "backslashreplace")
    if len(encoded) <= MAX_EXTERNAL_ID and "\0" not in external_id and encoded.decode() == external_id:
        return external_id
    return "sha256:" + hashlib.sha256(encoded).hexdigest()


def distinct(records: Sequence[Identified]) -> Sequence[Identified]:
    """The records before the first whose id came already: a statement may not touch a row twice."""
    seen: set[str] = set()
    for index, record in enumerate(records):
        if record.external_id in seen:
            return records[:index]
        seen.add(record.external_id)
    return records


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


def _contains_nul(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case list():
            return any(_contains_nul(each) for each in value)
        case dict():
            return any(_contains_nul(each) for each in (*value, *value.values()))
    return False


def _digest(encoded: bytes) -> bytes:
    return hashlib.blake2b(encoded, digest_size=DIGEST_BYTES).digest()
