"""One spelling per mailbox. Pure."""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from email_validator import EmailNotValidError, validate_email


class Email(NamedTuple):
    """An address as it is shown, and the key by which it is compared."""

    address: str
    key: str


PLAIN = re.compile(r"([\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*)@([a-z0-9.-]+)", re.ASCII | re.IGNORECASE)
LONGEST_LOCAL_PART, LONGEST_ADDRESS = 64, 254


# A record's address is looked at when its fields are made, when its page is locked, and when it is planned.
@lru_cache(maxsize=4096)
def parse_email(text: str) -> Email | None:
    """`text` as an address, or None where it is not a valid one. Asks no DNS (R5)."""
    stripped = text.strip()
    address = _plain(stripped) or _judged(stripped)
    return Email(address=address, key=email_key(address)) if address else None


def _plain(text: str) -> str | None:
    """The usual kind of address, about which email-validator need not be asked again: that takes it 35 µs.

    None says nothing. A test compares the two.
    """
    match = PLAIN.fullmatch(text)
    if match is None or len(text) > LONGEST_ADDRESS:
        return None
    local, domain = match.groups()
    # All letters and not all small: it may be one of the names that RFC 2142 makes the same in any case.
    if len(local) > LONGEST_LOCAL_PART or (local.isalpha() and not local.islower()):
        return None
    domain = domain.lower()
    return f"{local}@{domain}" if _is_plain_domain(domain) else None


@lru_cache(maxsize=16384)
def _is_plain_domain(domain: str) -> bool:
    """Whether `domain`, in small ASCII letters, is valid and stays as it is."""
    return _judged(f"a@{domain}") == f"a@{domain}"


def _judged(text: str) -> str | None:
    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError:
        return None


def email_key(address: str) -> str:
    """The key of a valid address: NFC, lower-cased.

    Computed here only: databases and other languages fold differently.
    """
    return unicodedata.normalize("NFC", address.lower())
