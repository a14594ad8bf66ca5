"""What of a Google person becomes what of a record."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.google_contacts.records import FIELDS, PERSON_FIELDS, Person, field_spec, to_record
from domain.records import FieldSpec, FieldType, Record, SourceConsent

EMPTY = {field.key: None for field in FIELDS}
PRIMARY = {"metadata": {"primary": True}}


def record(**parts: Any) -> Record:
    return to_record(Person.model_validate({"resourceName": "people/c1", **parts}))


def values(**parts: Any) -> dict[str, Any]:
    """The values that are not empty."""
    return {key: value for key, value in record(**parts).values.items() if value is not None}


def test_a_person_with_nothing_is_a_record_with_every_value_empty() -> None:
    assert record() == Record(
        external_id="1", email=None, first_name=None, last_name=None, phone=None,
        consent=SourceConsent.NOT_TRACKED, values=EMPTY,
    )  # fmt: skip


def test_a_whole_person() -> None:
    person = record(
        names=[{"givenName": "Ann", "middleName": "B.", "familyName": "Chu", "honorificPrefix": "Dr.",
                "honorificSuffix": "Jr."}],
        emailAddresses=[{"value": "old@example.com"}, {"value": "ann@example.com", **PRIMARY}],
        phoneNumbers=[{"value": "030 1", "canonicalForm": "+49301", **PRIMARY}, {"value": "0172 2"}],
        organizations=[{"name": "Acme", "title": "CTO", "department": "IT", "current": True}],
        addresses=[{
            "formattedValue": "Main St 1\n10115 Berlin", "streetAddress": "Main St 1", "extendedAddress": "c/o Bo",
            "poBox": "77", "city": "Berlin", "region": "BE", "postalCode": "10115", "country": "Germany",
            "countryCode": "DE",
        }],
        birthdays=[{"date": {"year": 1990, "month": 4, "day": 12}}],
        events=[{"type": "other", "date": {"year": 2001, "month": 1, "day": 1}},
                {"type": "anniversary", "date": {"year": 2015, "month": 6, "day": 5}}],
        nicknames=[{"value": "Annie"}],
        urls=[{"value": "https://ann.example.com"}],
        biographies=[{"value": "Met in Rome.\nLikes tea."}],
        userDefined=[{"key": "Shoe size", "value": "38"}],
    )  # fmt: skip

    assert person == Record(
        external_id="1",
        email="ann@example.com",
        first_name="Ann",
        last_name="Chu",
        phone="+49301",
        values={
            "emailAddresses": "old@example.com",
            "phoneNumbers": "0172 2",
            "names.honorificPrefix": "Dr.",
            "names.middleName": "B.",
            "names.honorificSuffix": "Jr.",
            "nicknames": "Annie",
            "organizations.name": "Acme",
            "organizations.title": "CTO",
            "organizations.department": "IT",
            "addresses.formattedValue": "Main St 1\n10115 Berlin",
            "addresses.streetAddress": "Main St 1",
            "addresses.extendedAddress": "c/o Bo",
            "addresses.poBox": "77",
            "addresses.city": "Berlin",
            "addresses.region": "BE",
            "addresses.postalCode": "10115",
            "addresses.country": "Germany",
            "addresses.countryCode": "DE",
            "birthdays": date(1990, 4, 12),
            "birthdays.day": "04-12",
            "events.anniversary": date(2015, 6, 5),
            "urls": "https://ann.example.com",
            "biographies": "Met in Rome.\nLikes tea.",
            "userDefined.Shoe size": "38",
        },
    )


@pytest.mark.parametrize(
    ("resource_name", "sources", "external_id"),
    [
        ("people/c623380167042605258", [{"type": "CONTACT", "id": "8a6b0f5889920ca"}], "8a6b0f5889920ca"),
        ("people/c623380167042605258", [], "8a6b0f5889920ca"),
        ("people/1042", [{"type": "PROFILE", "id": "1042"}, {"type": "CONTACT", "id": "8a6b"}], "8a6b"),
        ("people/1042", [{"type": "CONTACT", "id": "b"}, {"type": "CONTACT", "id": "a"}], "a"),
        ("people/1042", [{"type": "PROFILE", "id": "1042"}], "people/1042"),
        ("people/cafe", [], "people/cafe"),
    ],
)
def test_the_external_id_is_that_of_the_contact_whatever_its_person_is_called(
    resource_name: str, sources: list[dict[str, str]], external_id: str
) -> None:
    assert record(resourceName=resource_name, metadata={"sources": sources}).external_id == external_id


def test_an_address_that_is_none_gives_way_to_one_that_is() -> None:
    person = record(emailAddresses=[{"value": "ask her", **PRIMARY}, {"value": "ann@example.com"}, {"value": " "}])

    assert person.email == "ann@example.com"
    assert person.values["emailAddresses"] == "ask her"


def test_where_a_linked_profile_has_the_primary_address_that_of_the_contact_itself_counts() -> None:
    own = {"value": "own@example.com", "metadata": {"sourcePrimary": True}}

    assert record(emailAddresses=[{"value": "another@example.com"}, own]).email == "own@example.com"


def test_an_address_that_stands_twice_comes_once() -> None:
    person = record(emailAddresses=[{"value": "a@example.com", **PRIMARY}, {"value": " a@example.com "}])

    assert (person.email, person.values["emailAddresses"]) == ("a@example.com", None)


def test_nobody_is_called_on_a_fax_unless_there_is_nothing_else() -> None:
    fax = {"value": "1", "type": "workFax", **PRIMARY}

    assert record(phoneNumbers=[fax, {"value": "2", "type": "home"}]).phone == "2"
    assert record(phoneNumbers=[fax]).phone == "1"


@pytest.mark.parametrize(
    ("name", "first_name", "last_name"),
    [
        ({"givenName": "Ann", "familyName": "Chu"}, "Ann", "Chu"),
        ({"givenName": "Ann", "displayName": "Ann"}, "Ann", None),
        ({"familyName": "Chu", "displayName": "Chu"}, None, "Chu"),
        ({"unstructuredName": "Ann Mary Chu"}, "Ann Mary", "Chu"),
        ({"displayName": "Cher"}, "Cher", None),
        ({"givenName": " "}, None, None),
    ],
)
def test_names_in_parts_or_as_a_whole(name: dict[str, str], first_name: str | None, last_name: str | None) -> None:
    person = record(names=[name])

    assert (person.first_name, person.last_name) == (first_name, last_name)


@pytest.mark.parametrize(
    ("birthday", "expected"),
    [
        ({"year": 1990, "month": 4, "day": 2}, {"birthdays": date(1990, 4, 2), "birthdays.day": "04-02"}),
        ({"month": 4, "day": 2}, {"birthdays.day": "04-02"}),
        ({"year": 0, "month": 2, "day": 29}, {"birthdays.day": "02-29"}),
        ({"year": 1990}, {}),
        ({"year": 1990, "month": 4}, {}),
        (None, {}),
    ],
)
def test_a_birthday_without_its_year_is_no_date_but_keeps_its_day(birthday: Any, expected: dict[str, Any]) -> None:
    assert values(birthdays=[{"date": birthday, "text": "some day"}]) == expected


def test_the_present_employer_comes_before_a_past_one_even_if_that_is_primary() -> None:
    past, present = {"name": "Old", "title": "Boss", **PRIMARY}, {"name": "New", "current": True}

    assert values(organizations=[past, present]) == {"organizations.name": "New"}
    assert values(organizations=[past]) == {"organizations.name": "Old", "organizations.title": "Boss"}


def test_custom_fields_of_one_name_are_one_value_and_private_ones_none() -> None:
    custom = [("Size", "M"), ("Size ", "L"), ("_internal", "x"), ("", "loose"), ("Empty", " "), ("birthdays", "soon")]

    assert values(userDefined=[{"key": key, "value": value} for key, value in custom]) == {
        "userDefined.Size": "L, M",
        "userDefined.": "loose",
        "userDefined.birthdays": "soon",
    }


def test_a_custom_field_is_open_ended_and_titled_as_its_users_call_it() -> None:
    assert field_spec("userDefined.Shoe size") == FieldSpec(
        key="userDefined.Shoe size", title="Shoe size", type=FieldType.TEXT, open_ended=True
    )
    assert field_spec("userDefined.").title == "Custom field"
    assert field_spec("birthdays") == FieldSpec(key="birthdays", title="Birthday", type=FieldType.DATE)


def test_null_is_as_good_as_absent() -> None:
    person = record(
        names=None,
        emailAddresses=[{"value": "ann@example.com", "type": None, "metadata": None}],
        metadata={"sources": None, "deleted": None},
        memberships=[{"contactGroupMembership": None, "domainMembership": {"inViewerDomain": True}}],
        birthdays=[{"date": None}],
    )

    assert (person.email, person.values) == ("ann@example.com", EMPTY)


def test_the_groups_are_known_by_either_name_of_a_membership() -> None:
    memberships = [
        {"contactGroupMembership": {"contactGroupId": "a", "contactGroupResourceName": "contactGroups/a"}},
        {"contactGroupMembership": {"contactGroupId": "b"}},
        {"domainMembership": {"inViewerDomain": True}},
    ]

    person = Person.model_validate({"resourceName": "people/c1", "memberships": memberships})

    assert person.groups == {"contactGroups/a", "contactGroups/b"}


def test_what_is_asked_for_is_what_is_read() -> None:
    assert PERSON_FIELDS == (
        "addresses", "biographies", "birthdays", "emailAddresses", "events", "memberships", "metadata", "names",
        "nicknames", "organizations", "phoneNumbers", "urls", "userDefined",
    )  # fmt: skip


TEXTS = st.sampled_from(["", " ", "a", "b@example.com", "Ann Chu", "+49 30 1"])
ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "value": TEXTS, "type": st.sampled_from(["home", "pager", "anniversary"]), "canonicalForm": TEXTS,
        "key": TEXTS, "name": TEXTS, "givenName": TEXTS, "displayName": TEXTS, "current": st.booleans(), "city": TEXTS,
        "metadata": st.fixed_dictionaries({}, optional={"primary": st.booleans(), "sourcePrimary": st.booleans()}),
        "date": st.fixed_dictionaries(
            {}, optional={"year": st.integers(-1, 9999), "month": st.integers(-1, 13), "day": st.integers(-1, 32)}
        ),
    },
)  # fmt: skip
LISTED = [name for name in PERSON_FIELDS if name not in {"memberships", "metadata"}]


@given(
    parts=st.dictionaries(st.sampled_from(LISTED), st.lists(ITEMS, max_size=4), max_size=6),
    shuffling=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_the_order_of_items_which_google_does_not_promise_makes_no_difference(
    parts: dict[str, list[Any]], shuffling: Any
) -> None:
    shuffled = {name: shuffling.sample(items, len(items)) for name, items in parts.items()}

    assert record(**shuffled) == record(**parts)
