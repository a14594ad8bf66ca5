"""Connecting a service by a user's consent on a page of it: begun with a token, finished by what comes back (R15).

What comes back brings `state`, sealed, which names one attempt. An attempt takes one answer, within ten minutes, for
the account and the token that began it.
"""

import base64
import binascii
import secrets
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from uuid_utils.compat import uuid7

from domain import account, database, external_accounts
from domain.account import Viewer
from domain.catalogue import Catalogue, ConsentAttempt, find_service
from domain.credentials import key_ring, seal_json, unseal_json
from domain.enums import AttemptState
from domain.errors import ErrorCode, Misconfigured, Problem, Refused
from domain.models import ServiceAuthorizationAttempt

LIFETIME = timedelta(minutes=10)
SHOWN = timedelta(days=1)
"""So long after its end whoever has the state is shown how an attempt ended."""

# Any constant will do: what is sealed as a state opens as nothing else.
_STATE = UUID("9f5c1e0a-5a43-4bb0-9a61-0d6f3c3f7a11")
_CONTENT = struct.Struct(">16s16s")

COLUMNS = (
    "id, service, external_account_id, problems::text, expires_at, used_at,"
    " CASE WHEN state = 'PENDING' AND expires_at <= now() THEN 'EXPIRED' ELSE state END AS state"
)


class UnknownState(Exception):
    """The answer belongs to no attempt: it was not sent by us, or it is long over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """An attempt as it is shown. `is_used`: an answer came. `external_account_id`: what it reconnects, or made."""

    id: UUID
    service: str
    state: AttemptState
    external_account_id: UUID | None
    problems: Sequence[Problem]
    expires_at: datetime
    is_used: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """An attempt, and the page of the service that the user opens, whose address has a secret in it."""

    id: UUID
    url: str = field(repr=False)


async def start(
    viewer: Viewer,
    *,
    service: str,
    details: Mapping[str, Any],
    external_account_id: UUID | None,
    redirect_uri: str | None,
    catalogue: Catalogue,
) -> Started:
    """Begin an attempt. `external_account_id`: it reconnects this one. Refused where it cannot be made."""
    find_service(catalogue, service)
    try:
        checked = catalogue.check_details(service, details)
    except Refused as refused:
        # About the service as a whole, where it names no detail.
        raise refused.inside("details") if any(problem.field for problem in refused.problems) else refused from None
    if external_account_id is not None:
        connected = await external_accounts.get(viewer.account_id, external_account_id)
        if connected.service != service:
            message = f"{connected.label} is connected at {connected.service}, not at {service}."
            raise Refused(Problem(ErrorCode.INVALID, message, ("externalAccountId",)))
    if redirect_uri is None:
        message = "This server does not know where users reach it: its operator must set SLUICE_PUBLIC_URL."
        raise Refused(Problem(ErrorCode.NOT_CONFIGURED, message))
    attempt_id, verifier = uuid7(), secrets.token_urlsafe(48)
    kept: dict[str, Any] = {"details": checked, "redirect_uri": redirect_uri, "verifier": verifier}
    attempt = ConsentAttempt(service=service, state=_state(viewer.account_id, attempt_id), **kept)
    url = catalogue.authorization_url(attempt)
    await ServiceAuthorizationAttempt.create(
        id=attempt_id,
        account_id=viewer.account_id,
        service=service,
        token_id=viewer.token_id,
        external_account_id=external_account_id,
        secret=seal_json(kept, row=attempt_id),
        expires_at=await database.now() + LIFETIME,
    )
    return Started(id=attempt_id, url=url)


async def finish(state: str, answer: Mapping[str, str], catalogue: Catalogue) -> tuple[UUID, AttemptRow]:
    """Take what came back, once, and connect. Returns whose attempt it is, and how it stands now.

    An attempt that has its answer already, or is over, is left as it stands. Raises UnknownState.
    """
    account_id, attempt_id = _opened(state)
    rows = await database.fetch(
        """
        WITH held AS (
            SELECT secret FROM service_authorization
            WHERE account_id = $1 AND id = $2 AND used_at IS NULL AND expires_at > now() FOR NO KEY UPDATE
        )
        UPDATE service_authorization a SET used_at = now(), secret = NULL FROM held
        WHERE a.account_id = $1 AND a.id = $2
        RETURNING held.secret, a.service, a.token_id, a.external_account_id
        """,
        account_id, attempt_id,
    )  # fmt: skip
    if rows:
        await _connect(account_id, attempt_id, rows[0], ConsentAttempt(
            service=rows[0]["service"], state=state, **unseal_json(rows[0]["secret"], row=attempt_id)
        ), answer, catalogue)  # fmt: skip
    return await present(state)


async def present(state: str) -> tuple[UUID, AttemptRow]:
    """Whose attempt it is that an answer belongs to, and how it stands. Raises UnknownState.

    Also where it is long over: a state that somebody finds in a history says nothing any more.
    """
    account_id, attempt_id = _opened(state)
    found = (await by_ids(account_id, [attempt_id])).get(attempt_id)
    if found is None or found.expires_at + SHOWN < await database.now():
        raise UnknownState
    return account_id, found


async def by_ids(account_id: UUID, attempt_ids: Sequence[UUID]) -> dict[UUID, AttemptRow]:
    """Those of the attempts that the account has."""
    rows = await database.fetch(
        f"SELECT {COLUMNS} FROM service_authorization WHERE account_id = $1 AND id = ANY($2::uuid[])",
        account_id,
        list(attempt_ids),
    )
    return {row["id"]: _row(row) for row in rows}


async def _connect(
    account_id: UUID,
    attempt_id: UUID,
    row: asyncpg.Record,
    attempt: ConsentAttempt,
    answer: Mapping[str, str],
    catalogue: Catalogue,
) -> None:
    """Exchange, ask whose it is, and store: as whoever began it, whose token must still be good."""
    viewer = Viewer(account_id=account_id, token_id=row["token_id"], scopes=frozenset({account.WRITE}))
    try:
        if not await account.is_valid(viewer):
            message = "The token that began this was revoked. Connect again with another."
            raise Refused(Problem(ErrorCode.INVALID, message))
        credentials = await catalogue.exchange(attempt, answer)
        remote = await catalogue.identify(attempt.service, credentials)
        async with database.transaction():
            if row["external_account_id"] is None:
                connected = await external_accounts.keep_new(viewer, attempt.service, credentials, remote)
            else:
                connected = await external_accounts.keep_again(viewer, row["external_account_id"], credentials, remote)
            completed = {"state": AttemptState.COMPLETED, "external_account_id": connected.id}
            await _attempt(account_id, attempt_id).update(**completed)
    except Refused as refused:
        await _fail(account_id, attempt_id, refused.problems)
        return
    except BaseException:
        message = "Something went wrong on our side. Connect again."
        await _fail(account_id, attempt_id, [Problem(ErrorCode.SERVICE_UNAVAILABLE, message)])
        raise


async def _fail(account_id: UUID, attempt_id: UUID, problems: Sequence[Problem]) -> None:
    # Without their places: there is no form to show them in.
    told = [{"code": problem.code, "message": problem.message} for problem in problems]
    await _attempt(account_id, attempt_id).update(state=AttemptState.FAILED, problems=told)


def _attempt(account_id: UUID, attempt_id: UUID) -> Any:
    return ServiceAuthorizationAttempt.filter(account_id=account_id, id=attempt_id)


def _row(row: asyncpg.Record) -> AttemptRow:
    return AttemptRow(
        id=row["id"],
        service=row["service"],
        state=AttemptState(row["state"]),
        external_account_id=row["external_account_id"],
        problems=[Problem(ErrorCode(each["code"]), each["message"]) for each in orjson.loads(row["problems"])],
        expires_at=row["expires_at"],
        is_used=row["used_at"] is not None,
    )


def _state(account_id: UUID, attempt_id: UUID) -> str:
    sealed = key_ring().seal(_CONTENT.pack(account_id.bytes, attempt_id.bytes), row=_STATE)
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def _opened(state: str) -> tuple[UUID, UUID]:
    try:
        sealed = base64.urlsafe_b64decode(state + "=" * (-len(state) % 4))
        account_id, attempt_id = _CONTENT.unpack(key_ring().unseal(sealed, row=_STATE))
    except (binascii.Error, struct.error, ValueError, Misconfigured):
        raise UnknownState from None
    return UUID(bytes=account_id), UUID(bytes=attempt_id)
