"""Page after page, as the engine would store them: exact as far as memory goes, an estimate from there on (R21).

A task that is handed over keeps the records that were read so far, not what was concluded from them: they are few
enough, and decided again in a moment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from domain import database, fields
from domain.credentials import key_ring
from domain.enums import DeletionPolicy
from domain.fields import FieldToMake
from domain.ingest import Incoming
from domain.ingest.items import Item, distinct, item_of, seen_values, sighting_of, storable_id
from domain.ingest.known import Known
from domain.ingest.rules import Rules
from domain.ingest.storing import MAX_RECORDS
from domain.previews.effect import Standing, standing
from domain.previews.filling import Source
from domain.previews.imagined import Imagined, decide, decide_due, delete, learn_due
from domain.previews.tally import Tally
from domain.records import FieldSpec, FieldType
from domain.turns import Turn

EXACT_RECORDS = 10_000
"""So many are remembered, so that what one record does to another is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPage:
    """A page in the form that is decided, and kept."""

    items: Sequence[Item]
    deleted_ids: Sequence[str]
    specs: Mapping[str, FieldSpec]


@dataclass(slots=True, kw_only=True)
class Forecast:
    """What is known so far. `pages` is what a hand-over keeps; none once it `is_estimate`.

    `remaining`: how many records are still to come, where the service tells. `is_over`: nothing more need be read.
    """

    imagined: Imagined
    standing: Standing
    tally: Tally = field(default_factory=Tally)
    pages: list[ReadPage] = field(default_factory=list)
    checkpoint: Mapping[str, Any] | None = None
    remaining: int | None = None
    is_estimate: bool = False
    is_over: bool = False

    async def take(self, page: Incoming) -> None:
        """Decide the next page. Beyond the records that are remembered, either the rest is estimated, or each page."""
        if not self.is_estimate and self.tally.records >= EXACT_RECORDS:
            self._go_on_without_memory()
        items = [item_of(sighting_of(record)) for record in page.records]
        read = ReadPage(
            items=items,
            deleted_ids=[storable_id(external_id) for external_id in page.deleted_ids],
            specs={key: page.fields[key] for key in seen_values(items)},
        )
        await self._decide(read)
        self.checkpoint, self.remaining = page.checkpoint, page.remaining
        if not self.is_estimate:
            self.pages.append(read)
            if self.remaining and self.tally.records >= EXACT_RECORDS:
                self.is_estimate = self.is_over = True

    async def _decide(self, page: ReadPage) -> None:
        rest = page.items
        self.tally.records += len(rest)
        while rest:
            await self._settle()
            chunk = distinct(rest[:MAX_RECORDS])
            self.tally += await decide(self.imagined, chunk, page.specs)
            rest = rest[len(chunk) :]
        if self.is_estimate:
            self.imagined.forget()
            return
        # In the transaction of the page's last records: what is due by then is settled after it.
        if page.deleted_ids:
            await delete(self.imagined, page.deleted_ids)
        await self._settle()

    async def _settle(self) -> None:
        while (decided := await decide_due(self.imagined, limit=MAX_RECORDS)) is not None:
            self.tally += decided

    def _go_on_without_memory(self) -> None:
        self.is_estimate = True
        self.pages.clear()
        self.imagined.forget()

    def result(self) -> dict[str, Any]:
        """What the import would do with what was read, or with all that there is; JSON, as the preview keeps it."""
        account, tally = self.standing, self.tally
        if self.is_estimate and self.remaining:
            room = max(0, account.free - account.waiting)
            tally = tally.extrapolated(self.remaining, room=room)
        active_after = account.active + tally.active_delta
        return tally.to_json() | {
            "records": self.tally.records,
            "remaining": self.remaining,
            "is_estimate": self.is_estimate,
            "fields": [
                {"title": fields.stored_title(made.spec), "type": made.spec.type, "tag": made.tag}
                for made in self.imagined.made.values()
                if made.tag
            ],
            "active": account.active,
            "active_after": active_after,
            "limit": account.limit_for(active_after),
        }

    def progress(self) -> dict[str, Any]:
        """What the task needs to go on from here, as JSON."""
        progress: dict[str, Any] = {"checkpoint": self.checkpoint, "remaining": self.remaining}
        if not self.is_estimate:
            return progress | {"pages": [_page_to_json(page) for page in self.pages]}
        imagined = self.imagined
        return progress | {
            "tally": self.tally.to_json(),
            "made": [_made_to_json(made) for made in imagined.made.values()],
            "free": imagined.free,
            "ahead": imagined.ahead,
        }


async def begin(source: Source, *, unstable_ids: bool, progress: Mapping[str, Any]) -> Forecast:
    """The forecast for `source`, as far as the task's `progress` had come."""
    turn = Turn(
        account_id=source.account_id,
        external_account_id=source.external_account_id,
        lease_token=None,
        automatic_import_id=source.automatic_import_id,
        revision=0,
        service=source.service,
        unstable_ids=unstable_ids,
    )
    async with database.transaction() as connection:
        account = await standing(connection, turn, starts_over=source.starts_over)
        sealed = await connection.fetchval("SELECT email_hash_key FROM account WHERE id = $1", turn.account_id)
    rules = _rules(source, turn, hash_key=key_ring().unseal(sealed, row=turn.account_id))
    known_fields = await fields.load(turn.account_id, turn.service)
    imagined = Imagined(
        turn=turn,
        known=Known(rules=rules, entries={}, siblings={}, fields=known_fields),
        starts_over=source.starts_over,
        tags=await fields.tags(turn.account_id),
        free=account.free,
        ahead=account.waiting,
    )
    forecast = Forecast(imagined=imagined, standing=account)
    await _go_on(forecast, progress)
    return forecast


def _rules(source: Source, turn: Turn, *, hash_key: bytes) -> Rules:
    return Rules(
        account_id=turn.account_id,
        external_account_id=turn.external_account_id,
        hash_key=hash_key,
        name_policy=source.name_policy,
        phone_policy=source.phone_policy,
        list_ids=source.list_ids,
        tag_ids=source.tag_ids,
        window_used=0,
        unstable_ids=turn.unstable_ids,
        deletion_policy=DeletionPolicy.KEEP,
        deletion_tag_id=None,
        guard={},
    )


async def _go_on(forecast: Forecast, progress: Mapping[str, Any]) -> None:
    imagined = forecast.imagined
    forecast.checkpoint, forecast.remaining = progress.get("checkpoint"), progress.get("remaining")
    if "tally" in progress:
        forecast.is_estimate = True
        forecast.tally = Tally.of(progress["tally"])
        imagined.free, imagined.ahead = progress["free"], progress["ahead"]
        made = [_made_of(stored) for stored in progress["made"]]
        imagined.made = {each.spec.key: each for each in made}
        imagined.tags |= {each.tag for each in made if each.tag}
        imagined.known.fields = fields.with_made(imagined.known.fields, made)
        return
    await learn_due(imagined)
    for stored in progress.get("pages", ()):
        page = _page_of(stored)
        await forecast._decide(page)
        forecast.pages.append(page)


def _page_to_json(page: ReadPage) -> dict[str, Any]:
    return {
        "items": [[item.external_id, item.json, item.digest.hex(), item.rejected] for item in page.items],
        "deleted_ids": list(page.deleted_ids),
        "specs": [_spec_to_json(spec) for spec in page.specs.values()],
    }


def _page_of(stored: Mapping[str, Any]) -> ReadPage:
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
    )


def _spec_to_json(spec: FieldSpec) -> dict[str, Any]:
    return {"key": spec.key, "title": fields.stored_title(spec), "type": spec.type, "open_ended": spec.open_ended}


def _spec_of(stored: Mapping[str, Any]) -> FieldSpec:
    return FieldSpec(**(dict(stored) | {"type": FieldType(stored["type"])}))


def _made_to_json(made: FieldToMake) -> dict[str, Any]:
    return {"spec": _spec_to_json(made.spec), "tag": made.tag, "first_seen_in": made.first_seen_in}


def _made_of(stored: Mapping[str, Any]) -> FieldToMake:
    return FieldToMake(spec=_spec_of(stored["spec"]), tag=stored["tag"], first_seen_in=stored["first_seen_in"])
