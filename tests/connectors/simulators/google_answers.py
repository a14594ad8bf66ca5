"""How Google's APIs answer: what they refuse, and in which words; the items of a person's fields.

https://google.aip.dev/193
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

FIELDS = {
    *("addresses", "ageRanges", "biographies", "birthdays", "calendarUrls", "clientData", "coverPhotos"),
    *("emailAddresses", "events", "externalIds", "genders", "imClients", "interests", "locales", "locations"),
    *("memberships", "metadata", "miscKeywords", "names", "nicknames", "occupations", "organizations"),
    *("phoneNumbers", "photos", "relations", "sipAddresses", "skills", "urls", "userDefined"),
}
SOURCES = {f"READ_SOURCE_TYPE_{kind}" for kind in ("PROFILE", "CONTACT", "DOMAIN_CONTACT")}


class Refused(Exception):
    """An error in the shape that Google's APIs give it."""

    def __init__(self, code: int, status: str, message: str, *reasons: str, listed_as: str = "details") -> None:
        super().__init__(message)
        info = "type.googleapis.com/google.rpc.ErrorInfo"
        found = [{"@type": info, "reason": reason, "domain": "googleapis.com"} for reason in reasons]
        error = {"code": code, "message": message, "status": status, **({listed_as: found} if found else {})}
        self.response = JSONResponse({"error": error}, status_code=code)


def item(**values: Any) -> dict[str, Any]:
    """An item of a person's field, the primary one."""
    return {"metadata": {"primary": True, "sourcePrimary": True}, **values}


def secondary(other: Mapping[str, Any]) -> dict[str, Any]:
    """The same as one item among others."""
    return {name: value for name, value in other.items() if name != "metadata"}


def stamped(each: Mapping[str, Any], source: Mapping[str, str]) -> dict[str, Any]:
    return {**each, "metadata": {**each.get("metadata", {}), "source": source}}


def membership(group: str, source: Mapping[str, str]) -> dict[str, Any]:
    names = {"contactGroupId": group.partition("/")[2], "contactGroupResourceName": group}
    return {"metadata": {"source": source}, "contactGroupMembership": names}


def expired_sync_token(
    status: int = 400, *, reasons: Sequence[str] = ("EXPIRED_SYNC_TOKEN",), kind: str = "INVALID_ARGUMENT"
) -> Refused:
    """What Google answers to a sync token that is older than 7 days."""
    message = "Sync token is expired. Clear local cache and retry call without the sync token."
    return Refused(status, kind, message, *reasons)


def invalid(message: str) -> Refused:
    return Refused(400, "INVALID_ARGUMENT", message)


def parameters(request: Request, *known: str) -> dict[str, list[str]]:
    """The query; a name that the method does not have is refused, as Google does."""
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise invalid(f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.')
        found.setdefault(name, []).append(value)
    return found


def field_mask(given: Mapping[str, list[str]]) -> set[str]:
    mask = {name for names in given.get("personFields", ()) for name in names.split(",") if name}
    if not mask:
        raise invalid("personFields mask is required. Please specify one or more valid paths.")
    if unknown := mask - FIELDS:
        raise invalid(f'Invalid personFields mask path: "{min(unknown)}".')
    return mask


def source_types(given: Mapping[str, list[str]]) -> set[str]:
    sources = {*given.get("sources", ())} or {"READ_SOURCE_TYPE_CONTACT", "READ_SOURCE_TYPE_PROFILE"}
    if not sources <= SOURCES:
        raise invalid(f"Invalid value at 'sources': {min(sources - SOURCES)}")
    return sources


def page_size(given: Mapping[str, list[str]], *, default: int) -> int:
    text = given.get("pageSize", ["0"])[0]
    if not text.isdigit() or int(text) > 1000:
        raise invalid("Page size must be between 1 and 1000.")
    return int(text) or default


def token(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def read_token(text: str, kind: str) -> list[Any]:
    try:
        parts: list[Any] = json.loads(base64.urlsafe_b64decode(text))
    except ValueError:
        parts = [None]
    if parts[0] != kind:
        raise invalid(f"Invalid {kind} token.")
    return parts


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
