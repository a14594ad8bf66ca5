"""Who may ask a simulated WooCommerce shop for what: keys, signatures, parameters. As WooCommerce's PHP decides."""

import hashlib
import hmac
import re
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

# As long as base64 needs it to spell the secret behind the colon by itself.
CONSUMER_KEY = "ck_0123456789abcdef0123456789abcdef012345678"
CONSUMER_SECRET = "cs_fedcba9876543210fedcba9876543210fedcba98"
CLOCK_SECONDS = 15 * 60


class Shop(Protocol):
    """What the decisions depend on."""

    tls: bool
    home: str
    revoked: bool
    knows_plain_keys: bool
    drops_authorization: bool
    key_permissions: str
    key_may_list: bool
    nonces: set[str]


def error(status: int, code: str, message: str) -> Response:
    """An error as WordPress tells it."""
    return JSONResponse({"code": code, "message": message, "data": {"status": status}}, status)


def refusal(shop: Shop, request: Request, *, is_plain: bool) -> Response | None:
    """Why this request gets nothing; None where it does."""
    cannot_view = "woocommerce_rest_cannot_view", "Sorry, you cannot list resources."
    if is_plain and not shop.knows_plain_keys:
        return error(401, *cannot_view)
    asked = dict(request.query_params)
    key = _basic(shop, request) if shop.tls else None
    if key is None and "oauth_signature" in asked:
        problem = _signature_problem(shop, request, asked)
        if problem is not None:
            return error(401, "woocommerce_rest_authentication_error", problem)
        key = asked["oauth_consumer_key"], CONSUMER_SECRET
    # An unknown key is no key at all.
    if key is None or key[0] != CONSUMER_KEY or shop.revoked:
        return error(401, *cannot_view)
    if key[1] != CONSUMER_SECRET:
        return error(401, "woocommerce_rest_authentication_error", "Consumer secret is invalid.")
    if not shop.key_permissions.startswith("read"):
        return error(401, "woocommerce_rest_authentication_error", "The API key provided does not have read …")
    return None if shop.key_may_list else error(403, *cannot_view)


def _basic(shop: Shop, request: Request) -> tuple[str, str] | None:
    asked = request.query_params
    if asked.get("consumer_key") and asked.get("consumer_secret"):
        return asked["consumer_key"], asked["consumer_secret"]
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Basic" or shop.drops_authorization:
        return None
    key, _, secret = b64decode(token).decode().partition(":")
    return key, secret


def _signature_problem(shop: Shop, request: Request, asked: Mapping[str, str]) -> str | None:
    """Written from WooCommerce's own algorithm, not with the library that the connector uses."""
    given = {name: value for name, value in asked.items() if name != "oauth_signature"}
    for name in ("oauth_consumer_key", "oauth_timestamp", "oauth_nonce", "oauth_signature_method"):
        if not given.get(name):
            return f"Missing OAuth parameter {name}"
    pairs = [f"{_encoded(name)}={_encoded(value)}" for name, value in sorted(given.items())]
    origin = re.match(r"[a-z]+://[^/]+", shop.home)
    assert origin is not None
    base = f"{'https' if shop.tls else 'http'}://{origin[0].partition('://')[2]}{request.url.path}"
    text = "%26".join(quote(pair, safe="-_.~") for pair in pairs)
    signed = f"{request.method}&{quote(base, safe='-_.~')}&{text}"
    if given["oauth_signature_method"] != "HMAC-SHA1":
        return "Invalid signature - signature method is invalid."
    digest = hmac.new(f"{CONSUMER_SECRET}&".encode(), signed.encode(), hashlib.sha1).digest()
    if asked["oauth_signature"] != b64encode(digest).decode():
        return "Invalid signature - provided signature does not match."
    if abs(int(given["oauth_timestamp"]) - time.time()) > CLOCK_SECONDS:
        return "Invalid timestamp."
    if given["oauth_nonce"] in shop.nonces:
        return "Invalid nonce - nonce has already been used."
    shop.nonces.add(given["oauth_nonce"])
    return None


def _encoded(text: str) -> str:
    return quote(unquote(text), safe="-_.~")


def _is_number(least: int, most: int | None = None) -> Callable[[str], bool]:
    return lambda text: text.isdigit() and int(text) >= least and (most is None or int(text) <= most)


def invalid_parameters(
    asked: Mapping[str, str], *, orders: bool, roles: Sequence[str], statuses: Sequence[str]
) -> list[str]:
    """The parameters whose values the route refuses; those that it does not know it ignores."""

    def is_date(text: str) -> bool:
        return re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)?", text) is not None

    rules: dict[str, Callable[[str], bool]] = {
        "page": _is_number(1),
        "per_page": _is_number(1, 100),
        "offset": _is_number(0),
        "order": lambda text: text in {"asc", "desc"},
    }
    if orders:
        rules |= {
            "orderby": lambda text: text in {"date", "id", "include", "title", "slug"},
            "modified_after": is_date,
            "modified_before": is_date,
            "dates_are_gmt": lambda text: text in {"true", "false", "1", "0"},
            "status": lambda text: {*text.split(",")} <= {*statuses},
        }
    else:
        rules |= {
            "orderby": lambda text: text in {"id", "include", "name", "registered_date"},
            "role": lambda text: text in roles,
        }
    return [name for name, value in asked.items() if name in rules and not rules[name](value)]


def authorization_problem(asked: Mapping[str, str]) -> str | None:
    """What is wrong about a request for a key."""
    for name in ("app_name", "user_id", "return_url", "callback_url", "scope"):
        if not asked.get(name):
            return f"Missing parameter {name}"
    if asked["scope"] not in {"read", "write", "read_write"}:
        return "Invalid scope"
    if not asked["callback_url"].startswith("https://"):
        return "The callback_url needs to be over SSL"
    return None
