"""Where services send what users agreed to: in the query, in a fragment, or posted by the service itself.

What a browser brings connects nothing before its user has seen to which account, and pressed a button: whoever is led
to a page of a service by a stranger's link would give that stranger their contacts (RFC 6749, 10.12; RFC 9700, 4.7).

The query holds a code that is worth a login until it is used: it is blanked before any access log is written.
"""

from collections.abc import Mapping
from urllib.parse import parse_qsl
from uuid import UUID

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.node import global_id
from api.oauth_page import AGAIN, FRAGMENT, form, page, telling
from domain import account, external_accounts, service_authorizations
from domain.catalogue import Catalogue
from domain.enums import AttemptState
from domain.service_authorizations import AttemptRow, UnknownState
from domain.settings import settings

LARGEST_ANSWER = 64 * 1024
"""Bytes."""
POSTED = {"success": "1"}
"""By this a shop's owner comes back whose shop has posted a key: there is nothing to finish, only to look."""
CLOSE = "You can close this window."
BEGIN_AGAIN = "Close this window and connect again."


async def answered(catalogue: Catalogue, request: Request) -> Response:
    """GET by the user's browser, or POST: by the form that it got, or by the service (WooCommerce)."""
    if request.method == "HEAD":
        # Whoever only looks does not use the answer up.
        return Response()
    given = dict(request.query_params)
    request.scope["query_string"] = b""
    is_json = request.headers.get("content-type", "").startswith("application/json")
    if request.method == "POST":
        body = await _body(request)
        if body is None:
            return _told_no(f"An answer is at most {LARGEST_ANSWER // 1024} KiB.", is_json=is_json, status=413)
        given |= _values(body, is_json=is_json)
    # WooCommerce knows the state as the user whom it asks for.
    user_id = given.pop("user_id", "")
    state = given.pop("state", user_id)
    try:
        if request.method == "GET":
            return await _came_back(catalogue, state, given)
        account_id, attempt = await service_authorizations.finish(state, given, catalogue)
    except UnknownState:
        return _told_no("This answer belongs to no attempt of ours, or to one long over.", is_json=is_json, status=404)
    if is_json:
        return _acknowledged(attempt)
    return await _shown(catalogue, state, account_id, attempt)


async def _came_back(catalogue: Catalogue, state: str, given: Mapping[str, str]) -> Response:
    """What a browser is shown. Only a refusal needs no button: by itself it can connect nothing."""
    refusal = {name: value for name, value in given.items() if name == "error" or (name, value) == ("success", "0")}
    if refusal:
        return await _shown(catalogue, state, *await service_authorizations.finish(state, refusal, catalogue))
    account_id, attempt = await service_authorizations.present(state)
    if attempt.is_used or attempt.state is not AttemptState.PENDING or given.items() >= POSTED.items():
        return await _shown(catalogue, state, account_id, attempt)
    return page(
        f"Connect {_name(catalogue, attempt)}?",
        f"Its contacts will be read for the account {await account.name_of(account_id)}. "
        "Go on only if you have just asked for that yourself.",
        *([] if given else [f"If there is no button, the service sent nothing back. {BEGIN_AGAIN}"]),
        status=200,
        asks=form({"state": state, **given}, method="post", hidden=not given),
        script="" if given else FRAGMENT,
    )


async def _body(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            return None
    return bytes(body)


def _values(body: bytes, *, is_json: bool) -> Mapping[str, str]:
    """The values that are text or whole numbers; nothing where the body is malformed."""
    try:
        if not is_json:
            return dict(parse_qsl(body.decode()))
        read = orjson.loads(body)
    except ValueError:
        return {}
    if not isinstance(read, dict):
        return {}
    return {name: str(value) for name, value in read.items() if type(value) in {str, int}}


def _told_no(message: str, *, is_json: bool, status: int) -> Response:
    if is_json:
        return JSONResponse({"error": message}, status_code=status)
    return page("Nothing was connected", message, BEGIN_AGAIN, status=status)


def _acknowledged(attempt: AttemptRow) -> Response:
    """What a service reads that posted its answer: anything but 200 makes it tell the user that it failed."""
    if attempt.state is AttemptState.COMPLETED:
        return JSONResponse({"status": "connected"})
    reasons = " ".join(problem.message for problem in attempt.problems)
    return JSONResponse({"error": reasons or f"The attempt is {attempt.state}."}, status_code=400)


async def _shown(catalogue: Catalogue, state: str, account_id: UUID, attempt: AttemptRow) -> Response:
    name = _name(catalogue, attempt)
    message = {
        "source": "sluice",
        "type": "service-authorization",
        "id": global_id("ServiceAuthorizationAttempt", attempt.id),
        "state": attempt.state,
    }
    script = telling(message, settings().cors_origins)
    match attempt.state:
        case AttemptState.COMPLETED:
            label = await _label(account_id, attempt.external_account_id)
            return page(f"{name} is connected", f"{label} is connected.", CLOSE, status=200, script=script)
        case AttemptState.FAILED:
            reasons = (problem.message for problem in attempt.problems)
            return page(f"{name} was not connected", *reasons, BEGIN_AGAIN, status=400, script=script)
        case AttemptState.EXPIRED:
            late = "This took longer than ten minutes."
            return page(f"{name} was not connected", late, BEGIN_AGAIN, status=410, script=script)
        case AttemptState.PENDING:
            look = form({"state": state, **POSTED}, method="get", hidden=True)
            return page(f"Connecting {name}", "This takes a moment.", status=202, asks=look, script=AGAIN)


def _name(catalogue: Catalogue, attempt: AttemptRow) -> str:
    names = {service.key: service.name for service in catalogue.services()}
    return names.get(attempt.service, attempt.service)


async def _label(account_id: UUID, external_account_id: UUID | None) -> str:
    ids = [external_account_id] if external_account_id is not None else []
    found = await external_accounts.by_ids(account_id, ids)
    return ", ".join(row.label for row in found.values()) or "The account"
