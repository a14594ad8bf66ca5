"""What a task that is handed over keeps: the records that were read, in the form that is decided, as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from domain import fields
from domain.fields import FieldToMake
from domain.ingest.items import Item
from domain.records import FieldSpec, FieldType

EXACT_RECORDS = 10_000
"""So many are remembered, so that what one record does to another is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPage:
    """A page in the form that is decided, and kept."""

    items: Sequence[Item]
    deleted_ids: Sequence[str]
    specs: Mapping[str, FieldSpec]
    sweep: bool
    complete: bool


def page_to_json(page: ReadPage) -> dict[str, Any]:
    """As the task keeps it."""
    return {
        "items": [[item.external_id, item.json, item.digest.hex(), item.rejected] for item in page.items],
        "deleted_ids": list(page.deleted_ids),
        "specs": [_spec_to_json(spec) for spec in page.specs.values()],
        "sweep": page.sweep,
        "complete": page.complete,
    }


def page_of(stored: Mapping[str, Any]) -> ReadPage:
    """As the task kept it."""
    specs = [_spec_of(each) for each in stored["specs"]]
    return ReadPage(
        items=[
            Item(
                external_id=external_id,
                snapshot=orjson.loads(record),
                json=record,
                digest=bytes.fromhex(digest),
                rejected=rejected,
            )
            for external_id, record, digest, rejected in stored["items"]
        ],
        deleted_ids=stored["deleted_ids"],
        specs={spec.key: spec for spec in specs},
        sweep=stored["sweep"],
        complete=stored["complete"],
    )


def made_to_json(made: FieldToMake) -> dict[str, Any]:
    """As the task keeps it."""
    return {"spec": _spec_to_json(made.spec), "tag": made.tag, "first_seen_in": made.first_seen_in}


def made_of(stored: Mapping[str, Any]) -> FieldToMake:
    """As the task kept it."""
    return FieldToMake(spec=_spec_of(stored["spec"]), tag=stored["tag"], first_seen_in=stored["first_seen_in"])


def _spec_to_json(spec: FieldSpec) -> dict[str, Any]:
    return {"key": spec.key, "title": fields.stored_title(spec), "type": spec.type, "open_ended": spec.open_ended}


def _spec_of(stored: Mapping[str, Any]) -> FieldSpec:
    return FieldSpec(**(dict(stored) | {"type": FieldType(stored["type"])}))
