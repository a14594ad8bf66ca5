"""Google's OAuth endpoints, with a user who agrees at once.

https://developers.google.com/identity/protocols/oauth2/web-server
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.connectors.simulators.kit import CLIENT_ID, CLIENT_SECRET

ACCESS_TOKEN, REFRESH_TOKEN = "ya29.s3cret-access", "1//s3cret-refresh"
EMAIL_SCOPE = "https://www.googleapis.com/auth/userinfo.email"
CONTACTS_SCOPE = "https://www.googleapis.com/auth/contacts.readonly"
SCOPES = frozenset({"openid", EMAIL_SCOPE, CONTACTS_SCOPE})


@dataclass(slots=True, kw_only=True)
class GoogleOAuth:
    """Consents and their tokens, with the scopes of each.

    Switches: `granted` are the scopes that the user agrees to, of those asked for; `agrees` at all.
    """

    granted: frozenset[str] = SCOPES
    agrees: bool = True
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    access_tokens: dict[str, frozenset[str]] = field(default_factory=lambda: {ACCESS_TOKEN: SCOPES})
    refresh_tokens: dict[str, frozenset[str]] = field(default_factory=lambda: {REFRESH_TOKEN: SCOPES})

    def routes(self) -> list[Route]:
        return [
            Route("/o/oauth2/v2/auth", self._authorize, methods=["GET"]),
            Route("/token", self._token, methods=["POST"]),
            Route("/revoke", self._revoke, methods=["POST"]),
        ]

    def forget(self) -> None:
        """The user, or the client, ends every consent."""
        self.access_tokens.clear()
        self.refresh_tokens.clear()

    async def _authorize(self, request: Request) -> Response:
        """A user who agrees at once, or declines."""
        asked = dict(request.query_params)
        if asked.get("client_id") != CLIENT_ID or asked.get("response_type") != "code" or "redirect_uri" not in asked:
            return Response("Error 400: invalid_request", status_code=400, media_type="text/html")
        back = {"state": asked["state"]} if "state" in asked else {}
        if not self.agrees:
            return RedirectResponse(f"{asked['redirect_uri']}?{urlencode({'error': 'access_denied', **back})}", 302)
        code = f"4/{secrets.token_urlsafe(16)}"
        self.codes[code] = asked
        granted = " ".join(sorted(self.granted & {*asked["scope"].split()}))
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode({'code': code, 'scope': granted, **back})}", 302)

    async def _token(self, request: Request) -> Response:
        given = dict(parse_qsl((await request.body()).decode()))
        if (given.get("client_id"), given.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        match given.get("grant_type"):
            case "authorization_code":
                return self._exchange(given)
            case "refresh_token" if (scopes := self.refresh_tokens.get(str(given.get("refresh_token")))) is not None:
                return self._tokens(scopes)
            case "refresh_token":
                return JSONResponse({"error": "invalid_grant"}, status_code=400)
            case _:
                return JSONResponse({"error": "unsupported_grant_type"}, status_code=400)

    def _exchange(self, given: Mapping[str, Any]) -> Response:
        asked = self.codes.pop(str(given.get("code")), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(str(given.get("code_verifier")).encode()).digest())
        if (
            asked is None
            or asked["redirect_uri"] != given.get("redirect_uri")
            or asked.get("code_challenge_method") != "S256"
            or asked.get("code_challenge") != challenge.decode().rstrip("=")
        ):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        scopes = self.granted & {*asked["scope"].split()}
        # A second consent brings a refresh token only where it was asked for.
        lasting = asked.get("access_type") == "offline" and (
            asked.get("prompt") == "consent" or not self.refresh_tokens
        )
        if not lasting:
            return self._tokens(scopes)
        refresh_token = f"1//{secrets.token_urlsafe(16)}"
        self.refresh_tokens[refresh_token] = scopes
        return self._tokens(scopes, refresh_token=refresh_token)

    def _tokens(self, scopes: frozenset[str], **more: str) -> Response:
        access_token = f"ya29.{secrets.token_urlsafe(16)}"
        self.access_tokens[access_token] = scopes
        answer = {"access_token": access_token, "expires_in": 3599, "scope": " ".join(sorted(scopes))}
        return JSONResponse({**answer, "token_type": "Bearer", **more})

    async def _revoke(self, request: Request) -> Response:
        given = dict(parse_qsl((await request.body()).decode())).get("token")
        if given not in self.refresh_tokens and given not in self.access_tokens:
            return JSONResponse({"error": "invalid_token"}, status_code=400)
        self.forget()
        return JSONResponse({})
