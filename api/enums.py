"""The domain's enums, with the text that API users read."""

from enum import EnumMeta

import strawberry
from strawberry.types.enum import StrawberryEnumDefinition


def describe(enum: EnumMeta, description: str, *, name: str | None = None, **values: str) -> None:
    """Put `enum` into the schema. Every value needs a description: a missing or unknown one is a mistake."""
    strawberry.enum(enum, name=name, description=description)
    definition: StrawberryEnumDefinition = enum.__strawberry_definition__  # type: ignore[attr-defined]
    if {value.name for value in definition.values} != values.keys():
        raise ValueError(f"{enum.__name__} and its descriptions differ.")
    for value in definition.values:
        value.description = values[value.name]
