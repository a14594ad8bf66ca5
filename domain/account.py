"""Accounts and their API tokens."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from uuid_utils.compat import uuid7

from domain import credentials, database
from domain.errors import Misconfigured
from domain.models import Account, ApiToken, PlanTier
from domain.names import check_name
from domain.settings import settings

READ, WRITE = "read", "write"
SCOPES = (READ, WRITE)
"""What a token may be limited to: queries and subscriptions, or mutations. Without any it may do all."""
TOKEN_PREFIX = "slc_"  # noqa: S105


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Who is asking: an API token, and the account that all it sees belongs to."""

    account_id: UUID
    token_id: UUID
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the token's scopes allow it."""
        return not self.scopes or scope in self.scopes


async def find_or_create_account(name: str) -> Account:
    """The account called `name`, made on the default plan where there is none."""
    name = check_name(name)
    plan = settings().new_account_plan
    if not await PlanTier.exists(key=plan):
        known = ", ".join([tier.key async for tier in PlanTier.all().order_by("contact_limit")])
        raise Misconfigured(f"SLUICE_NEW_ACCOUNT_PLAN is {plan!r}, which is no plan tier. Plan tiers: {known}.")
    account_id = uuid7()
    hash_key = credentials.key_ring().seal(secrets.token_bytes(32), row=account_id)
    # Two callers may race for a new name: the second finds what the first made.
    await database.fetch(
        "INSERT INTO account (id, name, plan_tier_key, active_contacts, auto_upgrade, email_hash_key, created_at)"
        " VALUES ($1, $2, $3, 0, false, $4, now()) ON CONFLICT (name) DO NOTHING",
        account_id, name, plan, hash_key,
    )  # fmt: skip
    return await Account.get(name=name)


async def name_of(account_id: UUID) -> str:
    """What the account is called."""
    return (await Account.get(id=account_id)).name


async def create_token(account_id: UUID, *, name: str = "", scopes: Sequence[str] = ()) -> str:
    """A new bearer token. Only its SHA-256 is kept: it cannot be shown again."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown:
        raise Misconfigured(f"There is no scope {unknown[0]!r}. Scopes: {', '.join(SCOPES)}.")
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    await ApiToken.create(account_id=account_id, token_hash=_hash(token), name=name, scopes=list(scopes))
    return token


async def authenticate(token: str) -> Viewer | None:
    """Who `token` is, or None where it is unknown or revoked."""
    rows = await ApiToken.filter(token_hash=_hash(token), revoked_at=None).values("id", "account_id", "scopes")
    if not rows:
        return None
    return Viewer(account_id=rows[0]["account_id"], token_id=rows[0]["id"], scopes=frozenset(rows[0]["scopes"]))


async def is_valid(viewer: Viewer) -> bool:
    """Whether the viewer's token is still accepted: it may be revoked while a connection is open."""
    return await ApiToken.exists(account_id=viewer.account_id, id=viewer.token_id, revoked_at=None)


def _hash(token: str) -> bytes:
    # A random token of 256 bits needs no slow hash.
    return hashlib.sha256(token.encode()).digest()


def email_hash(hash_key: bytes, email_key: str) -> bytes:
    """What is kept of an address in suppressions and tombstones: HMAC-SHA256 under the account's own key (RFC 2104)."""
    return hmac.digest(hash_key, email_key.encode(), "sha256")
