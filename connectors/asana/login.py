"""A login at Asana: agreed to or typed, known by its user, given back.

https://developers.asana.com/docs/oauth
"""

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from connectors import http
from connectors.asana.api import Single, check, send
from connectors.asana.people import User
from connectors.base import Registration, RemoteAccount
from connectors.oauth import Tokens, code_flow


class Form(BaseModel):
    """What users can type instead of agreeing on Asana's page."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True, str_strip_whitespace=True)

    access_token: SecretStr = Field(
        title="Personal access token",
        description="Made in Asana's developer console (app.asana.com/0/my-apps). It sees what you see.",
        min_length=1,
        max_length=500,
    )


async def identify(client: httpx.AsyncClient, credentials: Tokens) -> RemoteAccount:
    """Check the credentials: the user they belong to."""
    response = await send(client, credentials.access_token, "/users/me", opt_fields="name,email")
    user = http.parse(check(response), Single[User]).data
    return RemoteAccount(identity=user.gid, label=user.email or user.name or user.gid)


async def revoke(client: httpx.AsyncClient, registration: Registration | None, credentials: Tokens) -> None:
    """Give the refresh token back; a personal access token can only be deleted by its owner, at Asana.

    https://developers.asana.com/docs/oauth#token-deauthorization-endpoint
    """
    if registration is None or credentials.refresh_token is None:
        return
    await http.request(
        client,
        "POST",
        "https://app.asana.com/-/oauth_revoke",
        data={
            "client_id": registration.client_id,
            "client_secret": registration.client_secret.get_secret_value(),
            "token": credentials.refresh_token.get_secret_value(),
        },
    )


AUTHORIZATION = code_flow(
    authorize_url="https://app.asana.com/-/oauth_authorize",
    token_url="https://app.asana.com/-/oauth_token",  # noqa: S106  no password
    scope="users:read workspaces:read teams:read",
)
