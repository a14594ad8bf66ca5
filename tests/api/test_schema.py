"""The schema as its users see it."""

from typing import Any

import pytest
from graphql import get_introspection_query

from api.schema import schema


@pytest.fixture(scope="module")
def types() -> dict[str, Any]:
    """Our types, as introspection tells of them."""
    answer = schema.execute_sync(get_introspection_query())
    assert answer.data is not None
    built_in = {"Boolean", "Float", "ID", "Int", "String"}
    return {
        each["name"]: each
        for each in answer.data["__schema"]["types"]
        if not each["name"].startswith("__") and each["name"] not in built_in
    }


def test_every_type_says_what_it_is(types: dict[str, Any]) -> None:
    assert [name for name, each in types.items() if not each["description"]] == []


def test_every_field_argument_and_value_says_what_it_is(types: dict[str, Any]) -> None:
    silent = []
    for name, each in types.items():
        for member in (each["fields"] or []) + (each["inputFields"] or []) + (each["enumValues"] or []):
            if not member["description"]:
                silent.append(f"{name}.{member['name']}")
            silent += [
                f"{name}.{member['name']}({argument['name']})"
                for argument in member.get("args", [])
                if argument["name"] != "input" and not argument["description"]
            ]

    assert silent == []


def test_every_mutation_takes_one_input_and_tells_every_problem(types: dict[str, Any]) -> None:
    for mutation in types["Mutation"]["fields"]:
        assert [argument["name"] for argument in mutation["args"]] == ["input"], mutation["name"]
        payload = types[mutation["type"]["ofType"]["name"]]
        assert "userErrors" in [field["name"] for field in payload["fields"]], mutation["name"]
        assert payload["name"] == mutation["name"][0].upper() + mutation["name"][1:] + "Payload"


def test_every_connection_can_be_paged_both_ways(types: dict[str, Any]) -> None:
    connections = [
        (name, field)
        for name, each in types.items()
        for field in each["fields"] or []
        if (field["type"]["ofType"] or {"name": None})["name"] in types
        and (field["type"]["ofType"]["name"] or "").endswith("Connection")
    ]

    assert len(connections) == 13
    for name, field in connections:
        arguments = [argument["name"] for argument in field["args"]]
        assert arguments[:4] == ["first", "after", "last", "before"], f"{name}.{field['name']}"
