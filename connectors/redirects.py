"""Redirects, followed with the method kept and with care for whom the login is shown.

httpx would turn a 301 or 302 into GET, and never asks whether an address is as safe as the one before.
"""

from collections.abc import Callable
from typing import Any

import httpx

from connectors.base import UnexpectedResponseError
from connectors.http import describe, origin, send

MAX_REDIRECTS = 5

Login = httpx.Auth | Callable[[httpx.Request], httpx.Request]


async def follow(
    client: httpx.AsyncClient, method: str, url: httpx.URL, *, auth: Login, auth_moves: bool = False, **options: Any
) -> httpx.Response:
    """Send a request as `http.send` does, through redirects; each of them passes the client's guard.

    `auth` is shown to the server of `url` alone; with `auth_moves`, to others too, and then all of them must be
    encrypted. Raises UnexpectedResponseError where a redirect leads astray.
    """
    start = url
    for _ in range(MAX_REDIRECTS + 1):
        is_trusted = auth_moves or origin(url) == origin(start)
        response = await send(client, method, url, auth=auth if is_trusted else httpx.Auth(), **options)
        if not response.has_redirect_location:
            return response
        target = url.join(response.headers["Location"])
        if auth_moves and target.host != url.host and not url.scheme == target.scheme == "https":
            raise UnexpectedResponseError(f"{describe(response)} (redirect to another host without TLS)")
        if (url.scheme, target.scheme) == ("https", "http"):
            raise UnexpectedResponseError(f"{describe(response)} (redirect from https to http)")
        url = target
    raise UnexpectedResponseError(f"{describe(response)} (more than {MAX_REDIRECTS} redirects)")
