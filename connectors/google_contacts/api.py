"""Calls of Google's People API, and what its refusals mean.

https://developers.google.com/people/api/rest, https://google.aip.dev/193 (errors)
"""

from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from typing import TypeVar

import httpx
from pydantic import ValidationError

from connectors import http
from connectors.base import (
    AccessRevokedError,
    CheckpointExpiredError,
    ConnectorError,
    TransientError,
    UnexpectedResponseError,
)
from connectors.google_contacts.records import Answered
from connectors.oauth import Tokens

API = "https://people.googleapis.com/v1/"

MOST_PAGES = 1000
"""Of one listing: a bound, far beyond what an account can hold."""

BUSY = frozenset(
    {
        *("rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded", "quotaExceeded"),
        *("RATE_LIMIT_EXCEEDED", "RESOURCE_QUOTA_EXCEEDED"),
    }
)
NOT_ENABLED = frozenset({"SERVICE_DISABLED", "accessNotConfigured"})
PROJECT_REFUSED = frozenset({"BILLING_DISABLED", "CONSUMER_SUSPENDED", "CONSUMER_INVALID", "USER_PROJECT_DENIED"})
"""https://cloud.google.com/service-infrastructure/docs/service-management/reference/rpc/google.api#errorreason"""
NOT_GRANTED = frozenset({"ACCESS_TOKEN_SCOPE_INSUFFICIENT", "insufficientPermissions"})
EXPIRED = "EXPIRED_SYNC_TOKEN"
EXPIRED_MESSAGE = "sync token is expired"
"""Seen without the reason that the documentation promises. Nothing else tells it from a wrong request."""

Shape = TypeVar("Shape")


class Detail(Answered):
    """What an error says beside its status; only some kinds of details have a reason."""

    reason: str = ""


class Failure(Answered):
    """An error as Google's APIs tell it; its reasons stand in either of two lists."""

    message: str = ""
    details: tuple[Detail, ...] = ()
    errors: tuple[Detail, ...] = ()

    @property
    def reasons(self) -> frozenset[str]:
        """The codes by which errors are told apart."""
        return frozenset(each.reason for each in (*self.details, *self.errors))


class Refusal(Answered):
    """The body of an answer that is not 2xx."""

    error: Failure = Failure()


class Group(Answered):
    """A contact group, which users call a label."""

    resource_name: str
    group_type: str = ""
    name: str = ""
    formatted_name: str = ""


class Groups(Answered):
    """A page of the account's contact groups."""

    contact_groups: tuple[Group, ...] = ()
    next_page_token: str | None = None


async def get(
    client: httpx.AsyncClient, credentials: Tokens, path: str, parameters: Mapping[str, str], shape: type[Shape]
) -> Shape:
    """The answer to GET `path`, below /v1/. Raises one of the four ConnectorErrors."""
    return read(await send(client, credentials, path, parameters), shape)


async def send(
    client: httpx.AsyncClient, credentials: Tokens, path: str, parameters: Mapping[str, str]
) -> httpx.Response:
    """GET `path`, below /v1/, whatever the answer."""
    headers = {"Authorization": f"Bearer {credentials.access_token.get_secret_value()}"}
    return await http.send(client, "GET", API + path, params=parameters, headers=headers)


def read(response: httpx.Response, shape: type[Shape]) -> Shape:
    """The body of a 2xx answer; raises what any other one means."""
    if not response.is_success:
        raise refusal(response)
    return http.parse(response, shape)


def refusal(response: httpx.Response) -> ConnectorError:
    """The error that an answer is which is not 2xx. 403 can mean that Google is busy, and that we are to blame."""
    failure = _failure(response)
    # Of the body nothing is shown but Google's own words.
    told = httpx.Response(
        response.status_code, headers=response.headers, text=failure.message, request=response.request
    )
    general = http.refusal(told, now=datetime.now(UTC))
    match response.status_code:
        # The status that Google gives is 400; 410 is that of its other APIs.
        case 400 | 410 if EXPIRED in failure.reasons or EXPIRED_MESSAGE in failure.message.lower():
            return CheckpointExpiredError("Google has forgotten the sync token.")
        case 403 if failure.reasons & BUSY:
            return TransientError(str(general), retry_after=http.retry_after(response, now=datetime.now(UTC)))
        case 403 if failure.reasons & NOT_ENABLED:
            return UnexpectedResponseError(
                "The operator of this server should enable the People API in its Google Cloud project."
            )
        case 403 if refused := failure.reasons & PROJECT_REFUSED:
            return UnexpectedResponseError(
                f"Google refuses this server's Google Cloud project ({min(refused)}), whoever connects:"
                " the operator of this server should put the project right."
            )
        case 403 if failure.reasons & NOT_GRANTED:
            return AccessRevokedError(
                "Google was not told to let us see the contacts: every box on its page must stay ticked."
            )
        case _:
            return general


def _failure(response: httpx.Response) -> Failure:
    try:
        return Refusal.model_validate_json(response.content).error
    except ValidationError:
        return Failure()


async def groups(client: httpx.AsyncClient, credentials: Tokens) -> AsyncGenerator[Group, None]:
    """The account's contact groups, those of the system too."""
    token = ""
    for _ in range(MOST_PAGES):
        parameters = {"pageSize": "1000", **({"pageToken": token} if token else {})}
        page = await get(client, credentials, "contactGroups", parameters, Groups)
        for group in page.contact_groups:
            yield group
        token = next_token(token, page.next_page_token)
        if not token:
            return


def next_token(token: str | None, following: str | None) -> str:
    """The token of the page after that of `token`, empty where that was the last; refuses to read in a circle."""
    if following and following == token:
        raise UnexpectedResponseError("Google gave the same page again and again.")
    return following or ""
