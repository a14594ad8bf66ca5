"""Grants in links: what lets a plain link in a browser download one thing, for a quarter of an hour.

A link cannot carry a bearer token: it would stand in histories and logs of proxies. A grant names its account, the
token that it was asked for with and its end, and is sealed for one subject: it opens nothing else, it ends with that
token, and what a log keeps of it is soon worthless.
"""

import base64
import binascii
import struct
import time
from datetime import timedelta
from uuid import UUID

from domain.account import READ, Viewer
from domain.credentials import key_ring
from domain.errors import Misconfigured

LIFETIME = timedelta(minutes=15)

_CONTENT = struct.Struct(">16s16sd")


def grant(viewer: Viewer, subject: UUID) -> str:
    """Text for a link that may read `subject` as `viewer` may, for a quarter of an hour."""
    ends_at = time.time() + LIFETIME.total_seconds()
    content = _CONTENT.pack(viewer.account_id.bytes, viewer.token_id.bytes, ends_at)
    return base64.urlsafe_b64encode(key_ring().seal(content, row=subject)).decode().rstrip("=")


def redeem(text: str, subject: UUID) -> Viewer | None:
    """Who asked for the grant; None where it has ended, is for something else, or is none of ours.

    The token that it was asked for with may have been revoked since: ask `account.is_valid`.
    """
    try:
        sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        account_id, token_id, ends_at = _CONTENT.unpack(key_ring().unseal(sealed, row=subject))
    except (binascii.Error, struct.error, ValueError, Misconfigured):
        # Misconfigured: sealed for another subject, or with a key that is no longer in the ring.
        return None
    if ends_at <= time.time():
        return None
    return Viewer(account_id=UUID(bytes=account_id), token_id=UUID(bytes=token_id), scopes=frozenset({READ}))
