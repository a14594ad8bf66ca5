"""R7 and R8: which values are written, and which survive."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from domain import database
from domain.enums import Outcome, OverwritePolicy
from domain.models import AutomaticImport, Contact, CustomField
from domain.records import FieldSpec, FieldType
from tests.domain.source import Source, add_import, make_source, record


async def contact() -> Contact:
    return await Contact.get(email_key="ann@example.com")


async def values() -> dict[str, Any]:
    """The contact's values by personalization tag."""
    tags = {str(field.id): field.personalization_tag async for field in CustomField.all()}
    return {tags[key] or "": value for key, value in (await contact()).field_values.items()}


async def notes(source: Source) -> list[str]:
    rows = await database.fetch(
        "SELECT notes::text FROM outcome WHERE automatic_import_id = $1 ORDER BY id", source.automatic_import_id
    )
    return [row["notes"] for row in rows]


async def test_an_edit_made_here_survives_until_that_very_value_changes_there(source: Source) -> None:
    await source.send(record("ann", first_name="Ann", phone="1"))
    await Contact.filter(account_id=source.account_id).update(first_name="Anna")

    await source.send(record("ann", first_name="Ann", phone="2"))
    kept = await contact()
    await source.send(record("ann", first_name="Annie", phone="2"))

    assert (kept.first_name, kept.phone) == ("Anna", "2")
    assert (await contact()).first_name == "Annie"


async def test_two_imports_of_one_person_do_not_flip_each_others_values(source: Source) -> None:
    other = await add_import(source)
    await source.send(record("1", "ann@example.com", phone="1"))
    await other.send(record("2", "ann@example.com", phone="2"))

    again = await source.send(record("1", "ann@example.com", phone="1"))
    await source.send(record("1", "ann@example.com", phone="1", last_name="Lee"))

    assert again.counts == Counter({Outcome.UNCHANGED: 1})
    assert ((await contact()).phone, (await contact()).last_name) == ("2", "Lee")


async def test_null_clears_fields_but_never_email_names_or_phone(source: Source) -> None:
    await source.send(record("ann", first_name="Ann", last_name="Lee", phone="1", values={"note": "n", "vip": True}))

    await source.send(record("ann", values={"note": None, "vip": None}))

    kept = await contact()
    assert (kept.first_name, kept.last_name, kept.phone) == ("Ann", "Lee", "1")
    assert await values() == {}


async def test_an_absent_key_is_left_as_it_is(source: Source) -> None:
    await source.send(record("ann", values={"note": "n"}))

    await source.send(record("ann", phone="2", values={}))

    assert await values() == {"SHOPIFY_NOTE": "n"}


async def test_a_first_seen_null_clears_nothing(source: Source) -> None:
    other = await add_import(source)
    await other.send(record("1", "ann@example.com", values={"note": "n"}))

    await source.send(record("2", "ann@example.com", values={"note": None}))

    assert await values() == {"SHOPIFY_NOTE": "n"}


async def test_if_empty_fills_only_what_is_empty(database: None) -> None:
    source = await make_source(name_policy=OverwritePolicy.IF_EMPTY, phone_policy=OverwritePolicy.IF_EMPTY)
    await source.send(record("ann", first_name="Ann"))

    await source.send(record("ann", first_name="Annie", phone="1"))

    assert ((await contact()).first_name, (await contact()).phone) == ("Ann", "1")


async def test_the_values_before_are_kept_with_the_outcome(source: Source) -> None:
    await source.send(record("ann", first_name="Ann", values={"note": "old"}))

    await source.send(record("ann", first_name="Annie", values={"note": "new"}))

    note = await CustomField.get(source_key="note")
    rows = await database.fetch("SELECT before::text FROM outcome WHERE outcome = 'UPDATED'")
    assert [row["before"] for row in rows] == [f'{{"first_name": "Ann", "field_values": {{"{note.id}": "old"}}}}']


@pytest.mark.parametrize(
    ("key", "value", "stored"),
    [
        ("vip", True, True),
        ("birthday", "1999-12-31", "1999-12-31"),
        ("total", 12.5, 12.5),
        ("total", "12.50", 12.5),
        ("total", "7", 7),
        ("total", 2**70, 1.1805916207174113e21),
        ("note", "a\nb", "a\nb"),
        ("note", 7, "7"),
    ],
)
async def test_a_value_is_stored_as_its_fields_type(source: Source, key: str, value: Any, stored: Any) -> None:
    await source.send(record("ann", values={key: value}))

    assert list((await values()).values()) == [stored]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("birthday", "not a date"),
        ("birthday", "1999-02-30"),
        ("vip", "yes"),
        ("total", "much"),
        ("total", "nan"),
        ("total", "1e999999"),
    ],
)
async def test_a_value_that_does_not_fit_is_noted_and_kept_in_the_ledger(source: Source, key: str, value: str) -> None:
    stored = await source.send(record("ann", first_name="Ann", values={key: value}))

    rows = await database.fetch("SELECT record -> 'values' ->> $1 AS value FROM ledger", key)
    assert stored.counts == Counter({Outcome.CREATED: 1})
    assert await values() == {}
    assert await notes(source) == ['["FIELD_TYPE"]']
    assert [row["value"] for row in rows] == [value]


async def test_fields_are_made_from_the_services_naming(source: Source) -> None:
    await source.send(record("ann", values={"total": 1, "birthday": "2000-01-01"}))

    fields = {field.source_key: field async for field in CustomField.all()}
    assert {key: (field.title, field.type, field.personalization_tag) for key, field in fields.items()} == {
        "total": ("Total spent", FieldType.NUMBER, "SHOPIFY_TOTAL_SPENT"),
        "birthday": ("Birthday", FieldType.DATE, "SHOPIFY_BIRTHDAY"),
    }


async def test_tags_are_unique_and_transliterated(source: Source) -> None:
    titles = {"a": "Größe", "b": "Grosse", "c": "!!!", "d": "???", "e": "Имя"}
    source.specs = {key: FieldSpec(key=key, title=title, type=FieldType.TEXT) for key, title in titles.items()}

    await source.send(record("ann", values=dict.fromkeys(titles, "x")))

    tags = {field.source_key: field.personalization_tag async for field in CustomField.all()}
    assert tags == {
        "a": "SHOPIFY_GROSSE",
        "b": "SHOPIFY_GROSSE_2",
        "c": "SHOPIFY_FIELD_1",
        "d": "SHOPIFY_FIELD_2",
        "e": "SHOPIFY_IMYA",
    }


async def test_an_open_ended_key_becomes_a_field_with_its_second_record(source: Source) -> None:
    await source.send(record("ann", values={"shoe": "42"}))
    after_one = await values()

    await source.send(record("bob", values={"shoe": "43"}))
    due = await source.ingest_due()

    assert after_one == {}
    assert due is not None
    assert due.counts == Counter({Outcome.UPDATED: 1})
    assert await values() == {"SHOPIFY_SHOE_SIZE": "42"}
    assert await notes(source) == ["[]", "[]", "[]"]


async def test_the_second_record_may_come_from_another_external_account_with_the_same_id(source: Source) -> None:
    other_shop = await make_source()
    await source.send(record("1", "ann@example.com", values={"shoe": "42"}))

    await other_shop.send(record("1", "bob@example.com", values={"shoe": "43"}))
    await source.ingest_due()

    assert await values() == {"SHOPIFY_SHOE_SIZE": "42"}


async def test_an_open_ended_key_twice_in_a_page_is_a_field_at_once(source: Source) -> None:
    await source.send(record("ann", values={"shoe": "42"}), record("bob", values={"shoe": "43"}))

    assert await values() == {"SHOPIFY_SHOE_SIZE": "42"}
    assert await source.ingest_due() is None


async def test_a_private_open_ended_key_never_becomes_a_field(source: Source) -> None:
    await source.send(*(record(name, values={"_secret": "x"}) for name in ("ann", "bob", "cid")))

    assert await CustomField.all().count() == 0
    assert await notes(source) == ["[]", "[]", "[]"]


async def test_at_most_100_open_ended_fields_are_made_and_the_rest_is_noted(source: Source) -> None:
    keys = [f"k{number:03}" for number in range(101)]
    source.specs = {key: FieldSpec(key=key, title=key, type=FieldType.TEXT, open_ended=True) for key in keys}

    await source.send(*(record(name, values=dict.fromkeys(keys, "x")) for name in ("ann", "bob")))

    assert len(await values()) == 100
    assert await CustomField.filter(personalization_tag=None).count() == 1
    assert (await notes(source))[-1] == '["FIELD_LIMIT"]'


async def test_a_field_that_a_user_deleted_stays_deleted(source: Source) -> None:
    await source.send(record("ann", values={"note": "n"}))
    await CustomField.filter(account_id=source.account_id).update(deleted_at=datetime.now(UTC))

    await source.send(record("bob", values={"note": "n"}))

    assert (await Contact.get(email_key="bob@example.com")).field_values == {}
    assert await CustomField.all().count() == 1


async def test_a_renamed_field_keeps_its_identity(source: Source) -> None:
    await source.send(record("ann", values={"note": "n"}))
    await CustomField.filter(account_id=source.account_id).update(title="Remarks")

    await source.send(record("ann", values={"note": "m"}))

    assert await values() == {"SHOPIFY_NOTE": "m"}


async def test_a_record_without_an_import_change_keeps_its_checkpoint(source: Source) -> None:
    await source.send(record("ann"), checkpoint={"page": 7})

    found = await AutomaticImport.get(account_id=source.account_id)
    assert found.checkpoint == {"page": 7}
