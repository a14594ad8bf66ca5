"""A Trello token: got on Trello's page, known by its member, given back.

https://developer.atlassian.com/cloud/trello/guides/rest-api/authorization/
"""

from collections.abc import Mapping
from urllib.parse import quote

import httpx
from pydantic import Field, SecretStr

from connectors import http
from connectors.base import AccessRevokedError, Attempt, Authorization, Registration, RemoteAccount
from connectors.oauth import NoDetails
from connectors.trello.api import API, Credentials, get
from connectors.trello.people import Member


class Owner(Member):
    """Whom the token belongs to."""

    id: str = Field(min_length=1)


async def identify(client: httpx.AsyncClient, credentials: Credentials) -> RemoteAccount:
    """Check the credentials: the member they belong to."""
    response = await get(client, credentials, "/members/me", {"fields": "id,username,email,fullName"})
    owner = http.parse(response, Owner)
    return RemoteAccount(identity=owner.id, label=owner.email or owner.username or owner.fullName or owner.id)


def start(attempt: Attempt) -> str:
    """The page that asks the user. It knows no `state`: that comes back within the address to return to."""
    if attempt.registration is None:
        raise ValueError("Trello's page needs a client registration.")
    back = httpx.URL(attempt.redirect_uri).copy_merge_params({"state": attempt.state})
    asked = {
        "expiration": "never",
        "scope": "read,account",
        "response_type": "token",
        "callback_method": "fragment",
        "return_url": str(back),
        "key": attempt.registration.client_id,
        "name": "Sluice",
    }
    return str(httpx.URL("https://trello.com/1/authorize", params=asked))


async def finish(_: httpx.AsyncClient, attempt: Attempt, answer: Mapping[str, str]) -> Credentials:
    """The token that came back behind the address's `#`, with the key that it belongs to."""
    if attempt.registration is None:
        raise ValueError("Trello's page needs a client registration.")
    if not answer.get("token"):
        # Trello has no codes: whatever came instead, there is no consent.
        raise AccessRevokedError("Access was declined on Trello's page.")
    return Credentials(api_key=SecretStr(attempt.registration.client_id), token=SecretStr(answer["token"]))


async def revoke(client: httpx.AsyncClient, _: Registration | None, credentials: Credentials) -> None:
    """Give the token back; one that Trello no longer knows is given back already.

    https://developer.atlassian.com/cloud/trello/rest/api-group-tokens/#api-tokens-token-delete
    """
    token = quote(credentials.token.get_secret_value(), safe="")
    response = await http.send(
        client, "DELETE", f"{API}/tokens/{token}", headers=credentials.headers(), extensions=http.SECRET_ADDRESS
    )
    if response.status_code not in {401, 404}:
        http.check(response)


AUTHORIZATION = Authorization(details=NoDetails, start=start, finish=finish, needs_secret=False)
