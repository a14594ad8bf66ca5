"""OAuth 2: a user's consent on a page of the service, turned into tokens that are renewed (RFC 6749, RFC 7636).

Authlib writes the requests; `connectors.http` sends them, so that its limits and its guard hold here too. Of an
answer's text nothing is shown: it may quote the code, or the secret.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NoReturn

import httpx
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from connectors import http
from connectors.base import (
    AccessRevokedError,
    Attempt,
    Authorization,
    ConnectorError,
    Registration,
    TransientError,
    UnexpectedResponseError,
)

LONGEST_LIFE = timedelta(days=3650).total_seconds()
"""Seconds: an access token that is said to live longer is renewed after this long."""
NOTHING: Mapping[str, str] = {}

Url = str | Callable[[Any], str]
"""Of the details when a user is asked, of the credentials when they are renewed."""
Verify = Callable[[Attempt, Mapping[str, str]], None]


class Tokens(BaseModel):
    """What a service gives for a user's consent; the base of stored credentials. `expires_at`: None for never."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)

    access_token: SecretStr
    refresh_token: SecretStr | None = None
    expires_at: AwareDatetime | None = None


class NoDetails(BaseModel):
    """Nothing has to be known before a user is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Answer(BaseModel):
    """A token endpoint's answer, of either kind: some services put an error under status 200 (RFC 6749, 5.1, 5.2)."""

    model_config = ConfigDict(hide_input_in_errors=True)

    access_token: Annotated[SecretStr, Field(min_length=1)] | None = None
    # Empty means that there is none, which is not to replace the one we have.
    refresh_token: Annotated[SecretStr | None, BeforeValidator(lambda value: value or None)] = None
    expires_in: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    error: Annotated[str | None, BeforeValidator(lambda value: value if value is None else str(value))] = None


def code_flow(
    *,
    authorize_url: Url,
    token_url: Url,
    scope: str,
    details: type[BaseModel] = NoDetails,
    credentials: type[Tokens] = Tokens,
    parameters: Mapping[str, str] = NOTHING,
    token_parameters: Mapping[str, str] = NOTHING,
    verify: Verify | None = None,
) -> Authorization:
    """The authorization code flow, with PKCE S256 and state always.

    `parameters` are added to the URL that users open, `token_parameters` to the exchange of the code. `verify` raises
    where what came back is not the service's own. What `credentials` has of the details' fields is kept in them.
    """

    def start(attempt: Attempt) -> str:
        return str(
            prepare_grant_uri(
                _url(authorize_url, attempt.details),
                _registered(attempt.registration).client_id,
                "code",
                redirect_uri=attempt.redirect_uri,
                scope=scope,
                state=attempt.state,
                code_challenge=create_s256_code_challenge(attempt.verifier),
                code_challenge_method="S256",
                **parameters,
            )
        )

    async def finish(client: httpx.AsyncClient, attempt: Attempt, answer: Mapping[str, str]) -> BaseModel:
        if answer.get("error"):
            _refuse_callback(answer["error"])
        if not answer.get("code"):
            raise UnexpectedResponseError("The service sent neither a code nor an error. Connect again.")
        if verify is not None:
            verify(attempt, answer)
        kept = {name: value for name, value in dict(attempt.details).items() if name in credentials.model_fields}
        exchange = {
            "code": answer["code"],
            "redirect_uri": attempt.redirect_uri,
            "code_verifier": attempt.verifier,
            **token_parameters,
        }
        url = _url(token_url, attempt.details)
        tokens = await _ask(client, url, _registered(attempt.registration), "authorization_code", exchange)
        return credentials.model_validate({**kept, **tokens})

    return Authorization(details=details, start=start, finish=finish, renew=_renewal(token_url))


def _renewal(token_url: Url) -> Callable[[httpx.AsyncClient, Registration, Any], Awaitable[BaseModel]]:
    async def renew(client: httpx.AsyncClient, registration: Registration, old: Tokens) -> BaseModel:
        if old.refresh_token is None:
            raise AccessRevokedError("The service gave nothing to renew the access with.")
        known = {"refresh_token": old.refresh_token.get_secret_value()}
        fresh = await _ask(client, _url(token_url, old), registration, "refresh_token", known)
        # A service that does not rotate refresh tokens may leave it out: the old one stays good (RFC 6749, 6).
        kept = {**dict(old), **fresh, "refresh_token": fresh["refresh_token"] or old.refresh_token}
        return type(old).model_validate(kept)

    return renew


async def _ask(
    client: httpx.AsyncClient, url: str, registration: Registration, grant: str, parameters: Mapping[str, str]
) -> dict[str, Any]:
    """Ask the token endpoint. Returns the fields of `Tokens`."""
    body = prepare_token_request(
        grant,
        client_id=registration.client_id,
        client_secret=registration.client_secret.get_secret_value(),
        **parameters,
    )
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    asked_at = datetime.now(UTC)
    response = await http.send(client, "POST", url, content=body, headers=headers)
    where = f"POST {url}: {response.status_code}"
    if http.is_transient(response.status_code):
        raise TransientError(where, retry_after=http.retry_after(response, now=asked_at))
    answer = _read(response)
    if answer.error:
        raise _refusal(where, answer.error)
    if not response.is_success or answer.access_token is None:
        raise UnexpectedResponseError(f"{where}, without an access token")
    life = answer.expires_in
    return {
        "access_token": answer.access_token,
        "refresh_token": answer.refresh_token,
        # From when we asked: the token cannot be younger.
        "expires_at": None if life is None else asked_at + timedelta(seconds=min(life, LONGEST_LIFE)),
    }


def _read(response: httpx.Response) -> _Answer:
    try:
        return http.parse(response, _Answer)
    except UnexpectedResponseError as error:
        if response.is_success:
            raise
        # Taken for a revocation, a firewall's page or a wrong client id would part every user of the service from it:
        # so it is tried again, and the user knows the way out.
        raise UnexpectedResponseError(f"{error}. If that goes on, connect it again.") from None


def _refusal(where: str, error: str) -> ConnectorError:
    """What an error code of a token endpoint means, by RFC 6749, 5.2."""
    match error:
        # The last one is Shopify's, of a shop that uninstalled the app.
        case "invalid_grant" | "access_denied" | "app_not_installed":
            return AccessRevokedError(f"{where} {error}: the service no longer accepts what the user agreed to.")
        case "temporarily_unavailable" | "server_error" | "slow_down":
            return TransientError(f"{where} {error}")
        case "invalid_client" | "unauthorized_client":
            advice = "check the client id and the client secret with which it is registered at this service"
        case "redirect_uri_mismatch":
            advice = "enter its SLUICE_PUBLIC_URL with /oauth/callback as redirect URI at the service"
        case _:
            advice = "check how it is registered at this service"
    return UnexpectedResponseError(f"{where} {_code(error)}. The operator of this server should {advice}.")


def _refuse_callback(error: str) -> NoReturn:
    """What an error code that comes back instead of a code means, by RFC 6749, 4.1.2.1."""
    match error:
        case "access_denied":
            raise AccessRevokedError("Access was declined on the page of the service.")
        case "temporarily_unavailable" | "server_error":
            raise TransientError(f"The service could not ask for access now ({error}).")
        case _:
            message = f"The service did not ask for access ({_code(error)})."
            raise UnexpectedResponseError(f"{message} The operator of this server should check how it is registered.")


def _code(error: str) -> str:
    """An error code as far as it is one: letters, digits and underscores."""
    return "".join(letter for letter in error if letter.isascii() and (letter.isalnum() or letter in "_-."))[:60]


def _url(url: Url, known: BaseModel) -> str:
    return url if isinstance(url, str) else url(known)


def _registered(registration: Registration | None) -> Registration:
    if registration is None:
        raise ValueError("A code flow needs a client registration.")
    return registration
