"""R5 and R6: which addresses are valid, and which are the same."""

import unicodedata

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given, settings
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


LOCAL_PARTS = st.one_of(
    st.from_regex(r"[A-Za-z0-9.+_'-]{1,6}", fullmatch=True),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=70),
    st.sampled_from(["info", "Info", "POSTMASTER", "www", "Ann", "ann.lee", "a..b", ".a", "a.", "a" * 64, "a" * 65]),
    st.text(max_size=4),
)
LABELS = st.one_of(
    st.from_regex(r"[A-Za-z0-9-]{1,5}", fullmatch=True),
    st.sampled_from(["com", "EXAMPLE", "test", "local", "localhost", "invalid", "onion", "arpa", "xn--bcher-kva", "1"]),
    st.sampled_from(["ab--c", "-a", "a-", "", "a" * 63, "a" * 64, "bücher", "x_y", "１"]),
)
DOMAINS = st.lists(LABELS, min_size=1, max_size=5).map(".".join)
SPACES = st.sampled_from(["", " ", "\n", "\u00a0"])


@settings(max_examples=500)
@given(st.builds("{}{}@{}{}".format, SPACES, LOCAL_PARTS, DOMAINS, SPACES))
@example("Info@example.com")
@example("ann@Example.COM.")
@example("ann@shop.test")
@example("ann@" + "a." * 125 + "com")
def test_what_is_known_without_asking_is_what_email_validator_says(text: str) -> None:
    try:
        expected = validate_email(text.strip(), check_deliverability=False).normalized
    except EmailNotValidError:
        expected = None

    email = parse_email(text)

    assert (email and email.address) == expected
