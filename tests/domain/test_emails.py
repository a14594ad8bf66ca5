"""R5 and R6: which addresses are valid, and which are the same."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.emails import Email, email_key, parse_email


@pytest.mark.parametrize(
    ("text", "address", "key"),
    [
        ("Ann@Example.COM", "Ann@example.com", "ann@example.com"),
        ("  ann@example.com\n", "ann@example.com", "ann@example.com"),
        ("ÅSA@exämple.com", "ÅSA@exämple.com", "åsa@exämple.com"),
        ("A\u030asa@example.com", "Åsa@example.com", "åsa@example.com"),
        ("İ@example.com", "İ@example.com", "i\u0307@example.com"),
    ],
)
def test_one_spelling_per_mailbox(text: str, address: str, key: str) -> None:
    assert parse_email(text) == Email(address=address, key=key)


@pytest.mark.parametrize("text", ["", "ann", "@example.com", "ann@", "a b@example.com", "ann@example", "a@b@c.com"])
def test_what_is_no_address(text: str) -> None:
    assert parse_email(text) is None


@given(st.emails())
def test_the_key_is_stable(address: str) -> None:
    key = email_key(address)

    assert email_key(key) == key
    assert unicodedata.is_normalized("NFC", key)
