"""Shopify's consent to an app and the tokens it gives, with an owner of the shop who agrees at once.

https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/authorization-code-grant
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.connectors.simulators.kit import CLIENT_ID, CLIENT_SECRET

CUSTOM_TOKEN = "shpat_s3cret-of-a-custom-app"


@dataclass(slots=True, kw_only=True)
class ShopifyOAuth:
    """The tokens that one shop knows, with the scopes of each.

    Switches: `agrees` at all, which installs the app; `is_installed` until it is uninstalled; `granted`, the scopes
    that the owner agrees to. `refreshable` maps a refresh token to the one that replaced it, which may be used again
    until that one is used.
    """

    shop: str
    agrees: bool = True
    is_installed: bool = True
    granted: frozenset[str] = frozenset({"read_customers"})
    codes: dict[str, str] = field(default_factory=dict)
    access_tokens: dict[str, frozenset[str]] = field(default_factory=dict)
    refreshable: dict[str, str | None] = field(default_factory=dict)

    def routes(self) -> list[Route]:
        return [
            Route("/admin/oauth/authorize", self._authorize, methods=["GET"]),
            Route("/admin/oauth/access_token", self._token, methods=["POST"]),
            Route("/admin/api_permissions/current.json", self._uninstall, methods=["DELETE"]),
        ]

    def forget(self) -> None:
        """The app is uninstalled."""
        self.is_installed = False
        self.access_tokens.clear()
        self.refreshable.clear()

    def expire_access(self) -> None:
        """An hour goes by."""
        self.access_tokens = {token: scopes for token, scopes in self.access_tokens.items() if token == CUSTOM_TOKEN}

    def sign(self, parameters: dict[str, str]) -> dict[str, str]:
        message = "&".join(f"{name}={value}" for name, value in sorted(parameters.items()))
        return {**parameters, "hmac": hmac.new(CLIENT_SECRET.encode(), message.encode(), hashlib.sha256).hexdigest()}

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        if asked.get("client_id") != CLIENT_ID or not asked.get("redirect_uri") or not asked.get("scope"):
            return Response("<h1>Oauth error invalid_request</h1>", status_code=400, media_type="text/html")
        back = {"state": asked["state"]} if "state" in asked else {}
        if not self.agrees:
            return RedirectResponse(f"{asked['redirect_uri']}?{urlencode({'error': 'access_denied', **back})}", 302)
        self.is_installed = True
        code = secrets.token_hex(16)
        self.codes[code] = asked["redirect_uri"]
        answer = self.sign({"code": code, "host": "YWRtaW4", "shop": self.shop, "timestamp": "1793000000", **back})
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 302)

    async def _token(self, request: Request) -> Response:
        given = dict(parse_qsl((await request.body()).decode()))
        if (given.get("client_id"), given.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        if given.get("grant_type") == "refresh_token":
            return self._renew(given.get("refresh_token", ""))
        if self.codes.pop(given.get("code", ""), None) is None:
            return JSONResponse({"error": "invalid_request"}, status_code=400)
        return self._tokens(expiring=given.get("expiring") == "1")

    def _renew(self, refresh_token: str) -> Response:
        if not self.is_installed:
            return JSONResponse({"error": "app_not_installed"}, status_code=400)
        if refresh_token not in self.refreshable:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        # Whoever uses the new one has stored it: the one before is good no more.
        self.refreshable = {token: newer for token, newer in self.refreshable.items() if newer != refresh_token}
        unused = self.refreshable.get(refresh_token)
        if unused is not None:
            self.refreshable.pop(unused, None)
        answer = self._tokens(expiring=True)
        self.refreshable[refresh_token] = [*self.refreshable][-1]
        return answer

    def _tokens(self, *, expiring: bool) -> Response:
        access_token = f"shpat_{secrets.token_hex(16)}"
        self.access_tokens[access_token] = self.granted
        answer = {"access_token": access_token, "scope": ",".join(sorted(self.granted))}
        if not expiring:
            return JSONResponse(answer)
        refresh_token = f"shprt_{secrets.token_hex(16)}"
        self.refreshable[refresh_token] = None
        lives = {"expires_in": 3600, "refresh_token_expires_in": 7_776_000}
        return JSONResponse({**answer, "refresh_token": refresh_token, **lives})

    async def _uninstall(self, request: Request) -> Response:
        if request.headers.get("X-Shopify-Access-Token") not in self.access_tokens:
            return JSONResponse({"errors": "[API] Invalid API key or access token"}, status_code=401)
        self.forget()
        return JSONResponse({})
