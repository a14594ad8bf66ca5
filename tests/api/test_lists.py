"""Lists and tags over GraphQL."""

import pytest

from tests.api.conftest import Client

CREATE = {
    "list": """mutation ($name: String!) { createList(input: {name: $name}) {
        list { name } userErrors { code field message } } }""",
    "tag": """mutation ($name: String!) { createTag(input: {name: $name}) {
        tag { name } userErrors { code field message } } }""",
}


@pytest.mark.parametrize("noun", ["list", "tag"])
async def test_one_is_made_and_listed(client: Client, noun: str) -> None:
    [made] = (await client.data(CREATE[noun], name=" News ")).values()
    [listed] = (await client.data(f"{{ {noun}s {{ edges {{ node {{ name }} }} }} }}")).values()

    assert made == {noun: {"name": "News"}, "userErrors": []}
    assert listed == {"edges": [{"node": {"name": "News"}}]}


@pytest.mark.parametrize("noun", ["list", "tag"])
@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("  ", "BLANK", "Give it a name."),
        ("x" * 201, "TOO_LONG", "Use at most 200 characters, not 201."),
        ("a\0b", "INVALID", "Remove the control characters and line breaks from the name."),
    ],
)
async def test_a_name_that_cannot_be_is_refused(client: Client, noun: str, name: str, code: str, message: str) -> None:
    [refused] = (await client.data(CREATE[noun], name=name)).values()

    assert refused == {noun: None, "userErrors": [{"code": code, "field": ["name"], "message": message}]}


@pytest.mark.parametrize("noun", ["list", "tag"])
async def test_a_name_is_taken_whatever_its_case(client: Client, stranger: Client, noun: str) -> None:
    await client.data(CREATE[noun], name="News")

    [refused] = (await client.data(CREATE[noun], name="NEWS")).values()
    [theirs] = (await stranger.data(CREATE[noun], name="News")).values()

    assert [error["code"] for error in refused["userErrors"]] == ["TAKEN"]
    assert theirs["userErrors"] == []
