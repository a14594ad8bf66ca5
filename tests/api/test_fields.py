"""Custom fields changed over GraphQL."""

from typing import Any

import pytest

from api.node import global_id
from tests.api.conftest import Client
from tests.factories import make_contact, make_field

FIELDS = "{ fields { edges { node { title personalizationTag } } } }"
VALUES = "{ contacts { edges { node { fieldValues { personalizationTag value } } } } }"


async def change(client: Client, mutation: str, **given: Any) -> list[tuple[str, list[str]]]:
    """Code and field of every problem."""
    name = f"{mutation[0].upper()}{mutation[1:]}Input"
    text = f"mutation ($input: {name}!) {{ {mutation}(input: $input) {{ userErrors {{ code field }} }} }}"
    errors = (await client.data(text, input=given))[mutation]["userErrors"]
    return [(error["code"], error["field"]) for error in errors]


async def titles(client: Client) -> list[str]:
    return [edge["node"]["title"] for edge in (await client.data(FIELDS))["fields"]["edges"]]


async def test_a_field_gets_another_title_and_keeps_its_tag(client: Client) -> None:
    city = await make_field(client.account_id, "SAMPLE_CITY")
    key = global_id("Field", city.id)

    assert await change(client, "updateField", id=key, title=" ") == [("BLANK", ["title"])]
    assert await change(client, "updateField", id=key, title=" Town ") == []

    assert (await client.data(FIELDS))["fields"]["edges"] == [
        {"node": {"title": "Town", "personalizationTag": "SAMPLE_CITY"}}
    ]


async def test_a_deleted_field_is_not_shown_and_comes_back_with_its_values(client: Client) -> None:
    city = await make_field(client.account_id, "SAMPLE_CITY")
    await make_contact(client.account_id, field_values={str(city.id): "Rome"})
    key = global_id("Field", city.id)
    shown = await client.data(VALUES)

    assert await change(client, "deleteField", id=key) == []
    assert await titles(client) == []
    assert await client.data(VALUES) == {"contacts": {"edges": [{"node": {"fieldValues": []}}]}}
    assert await change(client, "deleteField", id=key) == [("NOT_FOUND", ["id"])]
    assert await change(client, "updateField", id=key, title="Town") == [("NOT_FOUND", ["id"])]

    assert await change(client, "restoreField", id=key) == []
    assert await change(client, "restoreField", id=key) == []
    assert await titles(client) == ["Sample_City"]
    assert await client.data(VALUES) == shown


@pytest.mark.parametrize("mutation", ["updateField", "deleteField", "restoreField"])
async def test_a_field_of_another_account_is_not_found(client: Client, stranger: Client, mutation: str) -> None:
    theirs = await make_field(stranger.account_id, "SAMPLE_CITY")
    more = {"title": "Mine"} if mutation == "updateField" else {}

    assert await change(client, mutation, id=global_id("Field", theirs.id), **more) == [("NOT_FOUND", ["id"])]

    assert await titles(stranger) == ["Sample_City"]
