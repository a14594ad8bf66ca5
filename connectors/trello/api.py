"""Trello's API, as far as members need it: one request, ten in one, and what a refusal means.

https://developer.atlassian.com/cloud/trello/guides/rest-api/rate-limits/
https://developer.atlassian.com/cloud/trello/rest/api-group-batch/
"""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from connectors import http
from connectors.base import TransientError, UnexpectedResponseError

API = "https://api.trello.com/1"
MOST_PER_BATCH = 10

SHORT_WINDOW, LONG_WINDOW = timedelta(seconds=10), timedelta(seconds=900)
WINDOWS = {
    "API_KEY_LIMIT_EXCEEDED": SHORT_WINDOW,
    "API_TOKEN_LIMIT_EXCEEDED": SHORT_WINDOW,
    "RATE_LIMIT_EXCEEDED": SHORT_WINDOW,
    "MEMBER_LIMIT_EXCEEDED": LONG_WINDOW,
}
"""How long a limit lasts, by the code in the body: Trello sends no Retry-After."""


class Limit(BaseModel):
    """The body of a 429."""

    error: str


class Credentials(BaseModel):
    """What opens a Trello account: the key of an app, and what its user gave that app."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True, str_strip_whitespace=True)

    api_key: SecretStr = Field(
        title="API key",
        description="Of a Power-Up that you make at trello.com/power-ups/admin.",
        min_length=1,
        max_length=500,
    )
    token: SecretStr = Field(
        title="Token",
        description="Made by the link beside that key. It reads what you can read.",
        min_length=1,
        max_length=500,
    )

    def headers(self) -> Mapping[str, str]:
        """What says who asks. Never in the address, which servers write into their logs."""
        key, token = (quote(secret.get_secret_value(), safe="") for secret in (self.api_key, self.token))
        return {
            "Authorization": f'OAuth oauth_consumer_key="{key}", oauth_token="{token}"',
            "Accept": "application/json",
        }


async def get(
    client: httpx.AsyncClient, credentials: Credentials, path: str, parameters: Mapping[str, str]
) -> httpx.Response:
    """Ask, and return the answer, which is 2xx."""
    return check(await http.send(client, "GET", f"{API}{path}", params=parameters, headers=credentials.headers()))


async def get_all(
    client: httpx.AsyncClient, credentials: Credentials, paths: Sequence[str]
) -> Sequence[httpx.Response]:
    """Ask for at most ten paths in one request. Returns the answers in their order, whatever their status is."""
    # Commas separate the paths; those inside are escaped, and again as any parameter's value.
    whole = await get(client, credentials, "/batch", {"urls": ",".join(paths)})
    items = http.parse(whole, list[dict[str, Any]])
    if len(items) != len(paths):
        raise UnexpectedResponseError(f"GET {API}/batch: {len(items)} answers to {len(paths)} questions")
    asked = [httpx.Request("GET", f"{API}{path}", headers=credentials.headers()) for path in paths]
    return [_opened(item, request) for item, request in zip(items, asked, strict=True)]


def _opened(item: Mapping[str, Any], request: httpx.Request) -> httpx.Response:
    """One answer of a batch: its body below its status; an error may be a body that names its status."""
    status, body = next(((key, value) for key, value in item.items() if key.isdecimal()), (None, item))
    code = int(status) if status is not None else item.get("statusCode")
    if not isinstance(code, int):
        raise UnexpectedResponseError(f"GET {API}/batch: an answer without a status")
    return httpx.Response(code, content=json.dumps(body), headers={"Content-Type": "application/json"}, request=request)


def check(response: httpx.Response) -> httpx.Response:
    """Return a 2xx response as it is; raise what the status of any other one means at Trello."""
    if response.status_code == 429 and "Retry-After" not in response.headers:
        raise TransientError(http.describe(response), retry_after=_window(response))
    return http.check(response)


def _window(response: httpx.Response) -> timedelta | None:
    """How long the limit lasts that was met; None where the body does not tell which one it was."""
    try:
        return WINDOWS.get(http.parse(response, Limit).error)
    except UnexpectedResponseError:
        return None
