"""Asana's listings: how to ask for them, and what a refusal means.

https://developers.asana.com/docs/pagination, https://developers.asana.com/docs/errors
"""

from collections.abc import Container, Sequence
from datetime import UTC, datetime
from typing import Generic, TypeVar

import httpx
from pydantic import BaseModel, Field, SecretStr

from connectors import http
from connectors.asana.people import Named
from connectors.base import ConnectorError, UnexpectedResponseError

API = "https://app.asana.com/api/1.0"
MOST_PER_REQUEST = 100
MOST_REQUESTS = 50
"""For a listing that is offered to choose from."""

Item = TypeVar("Item")


class NextPage(BaseModel):
    """Where a listing goes on."""

    offset: str = Field(min_length=1)


class Listing(BaseModel, Generic[Item]):
    """A page of a listing."""

    data: Sequence[Item]
    next_page: NextPage | None = None

    @property
    def offset(self) -> str | None:
        """The next page's; None at the end."""
        return self.next_page.offset if self.next_page else None


class Single(BaseModel, Generic[Item]):
    """One object."""

    data: Item


async def send(client: httpx.AsyncClient, token: SecretStr, path: str, **parameters: str | None) -> httpx.Response:
    """Ask, and return the answer whatever its status. Parameters that are None are left out."""
    return await http.send(
        client,
        "GET",
        f"{API}{path}",
        params={name: value for name, value in parameters.items() if value is not None},
        headers={"Authorization": b"Bearer " + token.get_secret_value().encode(), "Accept": "application/json"},
    )


async def everything(
    client: httpx.AsyncClient, token: SecretStr, path: str, *, unless: Container[int] = ()
) -> Sequence[Named]:
    """Read a short listing to its end: workspaces, or teams. Nothing where the status is among those of `unless`."""
    found: list[Named] = []
    offset = None
    for _ in range(MOST_REQUESTS):
        response = await send(client, token, path, limit=str(MOST_PER_REQUEST), offset=offset, opt_fields="name")
        if response.status_code in unless:
            return []
        page = http.parse(check(response), Listing[Named])
        found += page.data
        offset = page.offset
        if offset is None:
            return found
    raise UnexpectedResponseError(f"GET {API}{path}: the listing does not end")


def check(response: httpx.Response) -> httpx.Response:
    """Return a 2xx response as it is; raise what the status of any other one means at Asana."""
    if response.is_success:
        return response
    raise refusal(response)


def refusal(response: httpx.Response) -> ConnectorError:
    """The error for a response that is not 2xx. Asana has no error codes beside the status."""
    match response.status_code:
        case 402:
            return UnexpectedResponseError(
                f"Asana offers this to paid plans only: choose another workspace or other teams. {_place(response)}"
            )
        case 451:
            return UnexpectedResponseError(
                f"Asana may not serve this workspace for legal reasons: ask its administrator. {_place(response)}"
            )
        case _:
            return http.refusal(response, now=datetime.now(UTC))


def _place(response: httpx.Response) -> str:
    return f"({http.describe(response)})"
