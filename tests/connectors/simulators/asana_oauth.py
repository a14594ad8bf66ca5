"""Asana's OAuth endpoints, with a user who agrees at once.

https://developers.asana.com/docs/oauth
"""

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.connectors.simulators.kit import CLIENT_ID, CLIENT_SECRET

ME = "1200000000000001"
TOKEN = "2/1200000000000001/1200000000000002:s3cret-t0ken"
SCOPES = frozenset({"users:read", "workspaces:read", "teams:read"})
FULL_ACCESS = frozenset({"default"})


@dataclass(slots=True, kw_only=True)
class AsanaOAuth:
    """Tokens, with the scopes of each; a personal access token has all of them.

    `keeps_refresh_token_back`: a renewal's answer has none. `declines`: what the user does.
    """

    declines: bool = False
    keeps_refresh_token_back: bool = True
    tokens: dict[str, frozenset[str]] = field(default_factory=lambda: {TOKEN: FULL_ACCESS})
    refresh_tokens: dict[str, frozenset[str]] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def routes(self) -> list[Route]:
        return [
            Route("/-/oauth_authorize", self._authorize),
            Route("/-/oauth_token", self._token, methods=["POST"]),
            Route("/-/oauth_revoke", self._revoke_token, methods=["POST"]),
        ]

    def forget(self) -> None:
        """The user ends every consent, and deletes the token."""
        self.tokens.clear()
        self.refresh_tokens.clear()

    def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        if asked.get("client_id") != CLIENT_ID or asked.get("response_type") != "code" or not asked.get("redirect_uri"):
            return Response("invalid request", 400)
        answer = {"state": asked.get("state", "")}
        if self.declines:
            answer["error"] = "access_denied"
        elif not {*asked.get("scope", "").split()} <= SCOPES:
            answer["error"] = "forbidden_scopes"
        else:
            answer["code"] = f"code-{len(self.codes)}"
            self.codes[answer["code"]] = asked
        return RedirectResponse(str(httpx.URL(asked["redirect_uri"]).copy_merge_params(answer)), 302)

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client"}, 401)
        if form.get("grant_type") == "refresh_token":
            scopes = self.refresh_tokens.get(form.get("refresh_token", ""))
            if scopes is None:
                return JSONResponse({"error": "invalid_grant"}, 400)
            return self._give(scopes, None if self.keeps_refresh_token_back else form["refresh_token"])
        asked = self.codes.pop(form.get("code", ""), None)
        if form.get("grant_type") != "authorization_code" or asked is None or not _proves(asked, form):
            return JSONResponse({"error": "invalid_grant"}, 400)
        refresh_token = f"refresh-{len(self.refresh_tokens)}"
        self.refresh_tokens[refresh_token] = frozenset(asked["scope"].split())
        return self._give(self.refresh_tokens[refresh_token], refresh_token)

    def _give(self, scopes: frozenset[str], refresh_token: str | None) -> Response:
        token = f"access-{len(self.tokens)}"
        self.tokens[token] = scopes
        data = {"id": ME, "gid": ME, "name": "Olga Owner", "email": "olga@example.com"}
        answer: dict[str, Any] = {"access_token": token, "token_type": "bearer", "expires_in": 3600, "data": data}
        return JSONResponse(answer if refresh_token is None else {**answer, "refresh_token": refresh_token})

    async def _revoke_token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client"}, 401)
        # An access token is refused.
        known = self.refresh_tokens.pop(form.get("token", ""), None)
        return JSONResponse(
            {} if known is not None else {"error": "invalid_request"}, 200 if known is not None else 400
        )


def _proves(asked: Mapping[str, str], form: Mapping[str, str]) -> bool:
    digest = sha256(form.get("code_verifier", "").encode()).digest()
    challenge = urlsafe_b64encode(digest).decode().rstrip("=")
    return asked.get("redirect_uri") == form.get("redirect_uri") and asked.get("code_challenge") == challenge
