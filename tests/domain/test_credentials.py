"""Secrets at rest: sealed for one row, under a ring of keys."""

from uuid import uuid4

import pytest

from domain.credentials import new_key, parse_key_ring
from domain.errors import Misconfigured

ROW = uuid4()


def test_what_is_sealed_for_a_row_opens_for_that_row() -> None:
    ring = parse_key_ring(new_key())

    sealed = ring.seal(b"s3cret", row=ROW)

    assert ring.unseal(sealed, row=ROW) == b"s3cret"
    assert b"s3cret" not in sealed
    assert sealed != ring.seal(b"s3cret", row=ROW)


def test_what_was_moved_to_another_row_does_not_open() -> None:
    ring = parse_key_ring(new_key())
    sealed = ring.seal(b"s3cret", row=ROW)

    with pytest.raises(Misconfigured, match="does not open with key"):
        ring.unseal(sealed, row=uuid4())


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    old, new = new_key(), new_key()
    sealed = parse_key_ring(old).seal(b"s3cret", row=ROW)

    ring = parse_key_ring(f"{new}, {old}")

    assert ring.unseal(sealed, row=ROW) == b"s3cret"
    assert ring.seal(b"x", row=ROW).startswith(new.partition(":")[0].encode() + b":")


def test_a_key_that_is_gone_is_named() -> None:
    old = new_key()
    sealed = parse_key_ring(old).seal(b"s3cret", row=ROW)

    with pytest.raises(Misconfigured, match=f"has no key '{old.partition(':')[0]}'"):
        parse_key_ring(new_key()).unseal(sealed, row=ROW)


@pytest.mark.parametrize("text", ["", "k1", "k1:", "k1:short", ":AAAA", "k1:!!!", "k1:AAAA,"])
def test_a_malformed_ring_says_what_it_must_be_without_repeating_it(text: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        parse_key_ring(text)

    assert str(raised.value) == "SLUICE_SECRET_KEYS must be id:base64 of 32 bytes, comma-separated."


def test_two_keys_of_one_id_are_refused_before_one_of_them_is_lost() -> None:
    key = new_key().partition(":")[2]

    with pytest.raises(Misconfigured) as raised:
        parse_key_ring(f"k1:{key},k2:{key},k1:{key}")

    assert str(raised.value) == "SLUICE_SECRET_KEYS has two keys 'k1': give the new one another id."


def test_a_ring_shows_no_key() -> None:
    key = new_key()

    assert repr(parse_key_ring(key)) == "KeyRing()"
