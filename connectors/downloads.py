"""A file behind an address which is itself a secret, got only where it changed.

https://www.rfc-editor.org/rfc/rfc9110#name-conditional-requests
"""

from collections.abc import Mapping
from functools import partial

import httpx
from pydantic import SecretStr

from connectors.http import SECRET_ADDRESS, check
from connectors.redirects import Login, follow

NO_CONDITIONS: Mapping[str, str] = {}
CONDITIONS = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}


async def download(
    client: httpx.AsyncClient, url: str, *, auth: Login, conditions: Mapping[str, str] = NO_CONDITIONS
) -> httpx.Response:
    """Get the file through redirects, or 304 under `conditions`. What opens it is shown to its own server only.

    Raises TransientError, AccessRevokedError or UnexpectedResponseError; none of them tells more than a server's name.
    """
    response = await follow(client, "GET", httpx.URL(url), auth=auth, headers=conditions, extensions=SECRET_ADDRESS)
    return response if response.status_code == 304 and conditions else check(response)


def login(username: str | None, password: SecretStr, token: SecretStr | None) -> Login:
    """What opens a file: a bearer token, else a user name with its password, else nothing."""
    if token is not None:
        return partial(_bear, token)
    return httpx.Auth() if username is None else httpx.BasicAuth(username, password.get_secret_value())


def _bear(token: SecretStr, request: httpx.Request) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token.get_secret_value()}"
    return request


def conditions_after(response: httpx.Response) -> dict[str, str]:
    """The headers that ask for another version than this only; none where the server does not tell versions."""
    return {asked: response.headers[told] for told, asked in CONDITIONS.items() if told in response.headers}
