"""Secrets at rest: AES-256-GCM under a ring of keys, bound to the row they belong to.

The ring is `SLUICE_SECRET_KEYS`, `id:base64,id:base64`: the first encrypts, all decrypt. A ciphertext is the key's
id, a colon, a 12-byte nonce and the sealed text; the row's identity is its associated data, so that a ciphertext
moved to another row does not open (NIST SP 800-38D).
"""

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import Misconfigured
from domain.settings import settings

NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Keys by id; the first encrypts."""

    keys: Mapping[str, bytes] = field(repr=False)

    def seal(self, secret: bytes, *, row: UUID) -> bytes:
        """Encrypt `secret` for `row`."""
        key_id, key = next(iter(self.keys.items()))
        nonce = secrets.token_bytes(NONCE_BYTES)
        return key_id.encode() + b":" + nonce + AESGCM(key).encrypt(nonce, secret, row.bytes)

    def unseal(self, sealed: bytes, *, row: UUID) -> bytes:
        """Decrypt what `seal` made for `row`."""
        key_id, _, rest = sealed.partition(b":")
        key = self.keys.get(key_id.decode())
        if key is None:
            message = f"SLUICE_SECRET_KEYS has no key {key_id.decode()!r}, which stored credentials need: put it back."
            raise Misconfigured(message)
        try:
            return AESGCM(key).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], row.bytes)
        except InvalidTag:
            message = f"A secret of {row} does not open with key {key_id.decode()!r} of SLUICE_SECRET_KEYS."
            raise Misconfigured(message) from None


def seal_json(secret: Mapping[str, Any], *, row: UUID) -> bytes:
    """Encrypt values, which JSON can hold, for `row`."""
    return key_ring().seal(orjson.dumps(secret), row=row)


def unseal_json(sealed: bytes, *, row: UUID) -> dict[str, Any]:
    """Decrypt what `seal_json` made for `row`."""
    return cast("dict[str, Any]", orjson.loads(key_ring().unseal(sealed, row=row)))


def new_key() -> str:
    """A fresh entry for SLUICE_SECRET_KEYS."""
    return f"{secrets.token_hex(4)}:{base64.b64encode(secrets.token_bytes(32)).decode()}"


def parse_key_ring(text: str) -> KeyRing:
    """The ring that SLUICE_SECRET_KEYS describes."""
    keys: dict[str, bytes] = {}
    for entry in text.split(","):
        key_id, _, encoded = entry.strip().partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if not key_id or len(key) != 32:
            raise Misconfigured("SLUICE_SECRET_KEYS must be id:base64 of 32 bytes, comma-separated.")
        if key_id in keys:
            raise Misconfigured(f"SLUICE_SECRET_KEYS has two keys {key_id!r}: give the new one another id.")
        keys[key_id] = key
    return KeyRing(keys)


@cache
def key_ring() -> KeyRing:
    """The key ring of this process."""
    configured = settings().secret_keys
    if configured is None:
        message = (
            "SLUICE_SECRET_KEYS is not set. `sluice up` makes one; for `serve` and `worker` set id:base64 of 32 bytes."
        )
        raise Misconfigured(message)
    return parse_key_ring(configured.get_secret_value())
