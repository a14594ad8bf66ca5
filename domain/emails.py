"""One spelling per mailbox. Pure."""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from email_validator import EmailNotValidError, validate_email


@dataclass(frozen=True, slots=True)
class Email:
    """An address as it is shown, and the key by which it is compared."""

    address: str
    key: str


# A record is checked when its page is planned, and again when it is the next in line for a shared address; a call
# costs 35 µs.
@lru_cache(maxsize=4096)
def parse_email(text: str) -> Email | None:
    """`text` as an address, or None where it is not a valid one. Asks no DNS (R5)."""
    try:
        address = validate_email(text.strip(), check_deliverability=False).normalized
    except EmailNotValidError:
        return None
    return Email(address=address, key=email_key(address))


def email_key(address: str) -> str:
    """The key of a valid address: NFC, lower-cased.

    Computed here only: databases and other languages fold differently.
    """
    return unicodedata.normalize("NFC", address.lower())
