"""A run's outcomes as a CSV file that spreadsheets open: streamed, and harmless there (R18).

What a link carries instead of a token is in domain/download_grants.py. The server itself keeps no log of requests.
"""

import csv
import io
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson
from anyascii import anyascii
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from api.auth import UNKNOWN, bearer_token
from api.node import global_id
from domain import account, download_grants, outcomes, run_history
from domain.account import Viewer
from domain.outcomes import OutcomeRow, StreamedOutcome, ValueChange
from domain.settings import settings

PATH = "/import-runs/{run_id:uuid}/outcomes.csv"
COLUMNS = ("When", "External id", "Email", "Outcome", "Code", "Notes", "Contact id", "What changed")
# What a spreadsheet takes for the beginning of a formula (OWASP, CSV Injection), full-width forms included.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel takes UTF-8 for the local code page."""

ENDED = (
    "This link has ended, or is not whole: a link works for 15 minutes."
    " Ask the API for `outcomesCsvUrl` again, or send your token as `Authorization: Bearer slc_…`.\n"
)
NO_SUCH_RUN = "There is no import run with this id in your account.\n"
MAY_NOT_READ = "Your token may not read. Use one that was made with `--scope read`.\n"


def url_of_run(viewer: Viewer, run_id: UUID) -> str:
    """Where the run's outcomes can be downloaded for a quarter of an hour; a path unless SLUICE_PUBLIC_URL is set."""
    query = urlencode({"grant": download_grants.grant(viewer, run_id)})
    return f"{settings().public_url or ''}/import-runs/{run_id}/outcomes.csv?{query}"


async def download(request: Request) -> Response:
    """GET of a run's outcomes, by the grant in the link or a bearer token."""
    run_id: UUID = request.path_params["run_id"]
    authorization = request.headers.get("authorization")
    viewer = await _of_token(authorization) if authorization else await _of_grant(request, run_id)
    if viewer is None:
        told = f"{UNKNOWN}\n" if authorization else ENDED
        return PlainTextResponse(told, status_code=401, headers={"WWW-Authenticate": "Bearer"})
    if not viewer.may(account.READ):
        return PlainTextResponse(MAY_NOT_READ, status_code=403)
    source = await run_history.source_of(viewer.account_id, run_id)
    if source is None:
        return PlainTextResponse(NO_SUCH_RUN, status_code=404)
    return StreamingResponse(
        _lines(viewer.account_id, run_id),
        media_type="text/csv",
        headers={
            "Content-Disposition": f'attachment; filename="{_file_name(source)}"',
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        },
    )


async def _of_token(authorization: str) -> Viewer | None:
    token = bearer_token(authorization)
    return await account.authenticate(token) if token else None


async def _of_grant(request: Request, run_id: UUID) -> Viewer | None:
    viewer = download_grants.redeem(request.query_params.get("grant", ""), run_id)
    return viewer if viewer is not None and await account.is_valid(viewer) else None


def _file_name(source: run_history.RunSource) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in anyascii(source.import_name).lower()).split()
    return f"{'-'.join(['outcomes', *words])[:80]}-{source.created_at:%Y-%m-%d}.csv"


async def _lines(account_id: UUID, run_id: UUID) -> AsyncIterator[str]:
    names = await outcomes.names_in_changes(account_id)
    yield BYTE_ORDER_MARK + _written([COLUMNS])
    async for portion in outcomes.stream_of_run(account_id, run_id):
        yield _written([_cells(each, names) for each in portion])


def _written(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([[harmless(cell) for cell in row] for row in rows])
    return text.getvalue()


def harmless(cell: str) -> str:
    """The cell as text that no spreadsheet runs: with an apostrophe in front where it would begin a formula."""
    return f"'{cell}" if cell.startswith(FORMULA) or cell.lstrip().startswith(FORMULA) else cell


def _cells(streamed: StreamedOutcome, names: Mapping[UUID, str]) -> tuple[str, ...]:
    row = streamed.row
    return (
        row.created_at.isoformat(timespec="seconds"),
        row.external_id,
        streamed.email or "",
        row.outcome,
        row.code or "",
        ", ".join(row.notes),
        global_id("Contact", row.contact_id) if row.contact_id else "",
        "; ".join(_changes(row, names)),
    )


def _changes(row: OutcomeRow, names: Mapping[UUID, str]) -> Iterator[str]:
    for change in row.changes:
        yield f"{_name(change, names)}: {_shown(change.before)} → {_shown(change.after)}"
    for target_id in (*row.list_ids, *row.tag_ids):
        yield f"added to {names.get(target_id, 'a list or tag that is deleted')}"


def _name(change: ValueChange, names: Mapping[UUID, str]) -> str:
    if change.field_id is not None:
        return names.get(change.field_id, "a deleted field")
    return (change.column or "").replace("_", " ").capitalize()


def _shown(value: Any) -> str:
    if value is None:
        return "(empty)"
    return value if isinstance(value, str) else orjson.dumps(value).decode()
