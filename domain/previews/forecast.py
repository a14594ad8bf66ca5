"""Page after page, as the engine would store them: exact as far as memory goes, an estimate from there on (R21).

A task that is handed over keeps the records that were read so far, not what was concluded from them: they are few
enough, and decided again in a moment.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from domain import database, fields, suppressions
from domain.ingest import Incoming
from domain.ingest.decisions import Plan
from domain.ingest.guard import Guard, ReviewNeeded
from domain.ingest.items import distinct, item_of, seen_values, sighting_of, storable_id
from domain.ingest.known import Known
from domain.ingest.rules import Rules
from domain.ingest.transaction import MAX_RECORDS
from domain.previews.deletions import Deletions, Sweep, act, conclude, load_sweep
from domain.previews.draining import add_others, drain
from domain.previews.effect import Standing, standing
from domain.previews.filling import Source
from domain.previews.imagined import Imagined, decide, decide_due, learn_due
from domain.previews.kept import EXACT_RECORDS, ReadPage, made_of, made_to_json, page_of, page_to_json
from domain.previews.line import Line, load_line
from domain.previews.tally import Tally
from domain.turns import Turn


@dataclass(slots=True, kw_only=True)
class Forecast:
    """What is known so far. `pages` is what a hand-over keeps; none once it `is_estimate`.

    `waiting` are in line before anything is read; `others` are the other imports whose they are. `reviews` is what the
    run would stop for; all else is as if somebody approved. `remaining`: how many records are still to come, where the
    service tells. `knows_due`: all that was due before is decided. `is_over`: nothing more need be read.
    """

    imagined: Imagined
    others: Sequence[Imagined]
    standing: Standing
    waiting: int
    sweep: Sweep
    deletions: Deletions = field(default_factory=Deletions)
    guard: Guard = field(default_factory=Guard)
    reviews: list[Mapping[str, Any]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    pages: list[ReadPage] = field(default_factory=list)
    checkpoint: Mapping[str, Any] | None = None
    remaining: int | None = None
    knows_due: bool = True
    is_estimate: bool = False
    is_over: bool = False

    async def begin(self) -> None:
        """What comes before anything is read: who waits already, what is known to be deleted, what is due."""
        await drain(self.imagined, self.others)
        await self._act()
        self.knows_due = await learn_due(self.imagined)
        await self._settle()

    async def take(self, page: Incoming) -> None:
        """Decide the next page. Beyond the records that are remembered, either the rest is estimated, or each page."""
        if not self.is_estimate and self.tally.records >= EXACT_RECORDS:
            self._go_on_without_memory()
        items = [item_of(sighting_of(record)) for record in page.records]
        read = ReadPage(
            items=items,
            deleted_ids=[storable_id(external_id) for external_id in page.deleted_ids],
            specs={key: page.fields[key] for key in seen_values(items)},
            sweep=page.sweep,
            complete=page.complete,
        )
        await self.decide(read)
        self.checkpoint, self.remaining = page.checkpoint, page.remaining
        if not self.is_estimate:
            self.pages.append(read)
            if self.remaining and self.tally.records >= EXACT_RECORDS:
                self.is_estimate = self.is_over = True

    async def decide(self, page: ReadPage) -> None:
        """Decide a page as it was read."""
        rest = page.items
        self.tally.records += len(rest)
        while rest:
            await self._settle()
            chunk = distinct(rest[:MAX_RECORDS])
            decided = await decide(self.imagined, chunk, page.specs)
            self._judge(decided)
            self.tally += decided
            rest = rest[len(chunk) :]
            if not self.is_estimate and not (page.sweep and not rest):
                self.sweep.add(decided.new_ids)
        if self.is_estimate:
            self.imagined.forget()
        else:
            await self._complete(page)

    async def finish(self) -> None:
        """All is read: what is due is settled, and the room that the import made goes to those in line."""
        if not self.is_estimate:
            await self._settle()
        await drain(self.imagined, self.others)

    async def _settle(self) -> None:
        while (decided := await decide_due(self.imagined, limit=MAX_RECORDS)) is not None:
            self.tally += decided

    async def _act(self) -> None:
        while await act(self.imagined, self.sweep, self.deletions):
            pass

    async def _complete(self, page: ReadPage) -> None:
        """In the transaction of the page's last records, and behind it: what is due by then is settled after that."""
        if page.sweep:
            self.sweep.saw(item.external_id for item in page.items)
        if page.deleted_ids:
            self.sweep.tell(page.deleted_ids)
            await act(self.imagined, self.sweep, self.deletions)
        if page.complete and (review := await conclude(self.imagined, self.sweep, self.deletions)):
            self._keep_review(review)
        await self._act()
        await self._settle()

    def _judge(self, decided: Plan) -> None:
        """The run would stop before these records, where they are an accident; approved, it goes on to its end."""
        try:
            self.guard.check(decided, self.imagined.known)
        except ReviewNeeded as needed:
            self._keep_review(needed.review)
            self.guard.approved = True

    def _keep_review(self, review: Mapping[str, Any]) -> None:
        # Its examples are values of contacts, which are kept in one place only.
        figures = {name: value for name, value in review.items() if name != "examples"}
        self.reviews.append(figures | {"read": self.tally.counts.total()})

    def _go_on_without_memory(self) -> None:
        self.is_estimate = True
        self.sweep = Sweep(confirmed=set(), is_first=False, is_told=False)
        self.pages.clear()
        self.imagined.forget()

    def result(self) -> dict[str, Any]:
        """What the import would do with what was read, or with all that there is; JSON, as the preview keeps it."""
        account, tally, line = self.standing, self.tally, self.imagined.line
        if self.is_estimate and self.remaining:
            tally = tally.extrapolated(self.remaining, room=max(0, line.limit - account.active - self.waiting))
        active_after = line.active + tally.active_delta - self.tally.active_delta
        is_told = self.sweep.is_told and not self.is_estimate
        return tally.to_json() | {
            "records": self.tally.records,
            "remaining": self.remaining,
            "is_estimate": self.is_estimate or not self.knows_due,
            "cost": tally.cost + line.cost,
            "fields": [
                {"title": fields.stored_title(made.spec), "type": made.spec.type, "tag": made.tag}
                for made in self.imagined.made.values()
                if made.tag
            ],
            "active": account.active,
            "active_after": active_after,
            "limit": account.limit_for(active_after),
            "waiting_before": self.waiting,
            "let_in": line.let_in,
            "reviews": self.reviews,
            "deletions": self.deletions.to_json() if is_told else None,
        }

    def progress(self) -> dict[str, Any]:
        """What the task needs to go on from here, as JSON."""
        progress: dict[str, Any] = {"checkpoint": self.checkpoint, "remaining": self.remaining}
        if not self.is_estimate:
            return progress | {"pages": [page_to_json(page) for page in self.pages]}
        return progress | {
            "tally": self.tally.to_json(),
            "made": [made_to_json(made) for made in self.imagined.made.values()],
            "line": self.imagined.line.to_json(),
            "waiting": self.waiting,
            "guard": self.guard.to_json(),
            "reviews": self.reviews,
        }


async def begin(source: Source, *, unstable_services: Collection[str], progress: Mapping[str, Any]) -> Forecast:
    """The forecast for `source`, as far as the task's `progress` had come.

    `unstable_services` re-use external ids.
    """
    turn = Turn(
        account_id=source.account_id,
        external_account_id=source.external_account_id,
        lease_token=None,
        automatic_import_id=source.automatic_import_id,
        revision=0,
        service=source.service,
        unstable_ids=source.service in unstable_services,
    )
    starts_over = source.starts_over
    async with database.transaction() as connection:
        account = await standing(connection, turn.account_id)
        sealed = await connection.fetchval("SELECT email_hash_key FROM account WHERE id = $1", turn.account_id)
        line = await load_line(
            connection, turn, active=account.active, limit=account.limits[-1], starts_over=starts_over
        )
        sweep = await load_sweep(connection, turn, starts_over=starts_over)
    rules = _rules(source, turn, hash_key=suppressions.hash_key(sealed, turn.account_id))
    imagined = Imagined(
        turn=turn,
        known=Known(rules=rules, entries={}, siblings={}, fields=await fields.load(turn.account_id, turn.service)),
        line=line,
        reading=replace(rules, tag_ids=[*rules.tag_ids, *([source.deletion_tag_id] if source.deletion_tag_id else [])]),
        starts_over=starts_over,
        tags=await fields.tags(turn.account_id),
    )
    others = await add_others(imagined, unstable_services=unstable_services)
    forecast = Forecast(imagined=imagined, others=others, standing=account, waiting=line.ahead, sweep=sweep)
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
        deletion_policy=source.deletion_policy,
        deletion_tag_id=source.deletion_tag_id,
        guard={},
    )


async def _go_on(forecast: Forecast, progress: Mapping[str, Any]) -> None:
    imagined = forecast.imagined
    forecast.checkpoint, forecast.remaining = progress.get("checkpoint"), progress.get("remaining")
    if "tally" in progress:
        imagined.forget()
        imagined.line = Line.of(progress["line"], limit=imagined.line.limit)
        forecast.is_estimate, forecast.waiting = True, progress["waiting"]
        forecast.tally, forecast.guard = Tally.of(progress["tally"]), Guard.of(progress["guard"])
        forecast.reviews = list(progress["reviews"])
        made = [made_of(stored) for stored in progress["made"]]
        imagined.made = {each.spec.key: each for each in made}
        imagined.tags |= {each.tag for each in made if each.tag}
        imagined.known.fields = fields.with_made(imagined.known.fields, made)
        return
    await forecast.begin()
    for stored in progress.get("pages", ()):
        page = page_of(stored)
        await forecast.decide(page)
        forecast.pages.append(page)
