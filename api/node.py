"""Global ids: `Type:uuid` in base64. Opaque to clients, and of no use in another account."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import strawberry
from strawberry import ID

from api.user_errors import BadUserInput


@strawberry.interface(description="Something with an id by which it can be fetched again.")
class Node:
    id: ID = strawberry.field(description="Globally unique, and never changes.")


Shown = TypeVar("Shown")
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class NodeKind:
    """How nodes of one type are read, and shown."""

    read: Callable[[UUID, Sequence[UUID]], Awaitable[Mapping[UUID, Any]]]
    show: Callable[[Any], Node]


NODES: dict[str, NodeKind] = {}
"""Every type of node, by its name."""
_SHOW: dict[type, Callable[[Any], object]] = {}
NOTHING = UUID(int=0)
"""The key of nothing: ours are UUIDv7."""


def node_type(
    name: str,
    row: type[Row],
    *,
    read: Callable[[UUID, Sequence[UUID]], Awaitable[Mapping[UUID, Row]]],
    show: Callable[[Row], Node],
) -> None:
    """Declare a type of node: its name, the rows it shows, how they are read by key and shown."""
    NODES[name] = NodeKind(read, show)
    shows(row, show)


def shows(row: type[Row], show: Callable[[Row], object]) -> None:
    """Declare how rows of one kind are shown."""
    _SHOW[row] = show


def show(row: object) -> Shown:  # type: ignore[type-var]
    """The node that shows `row`.

    For references against the direction of the imports: the graph of types has cycles, modules must not.
    """
    return _SHOW[type(row)](row)  # type: ignore[return-value]


async def find_node(account_id: UUID, text: str) -> Node | None:
    """The node with a global id; None where the account has none, be it unknown or someone else's."""
    type_name, key = parse_id(text)
    if type_name not in NODES:
        raise BadUserInput(f"{_shown(text)} is not an id of this API. Take one from an `id` field.")
    kind = NODES[type_name]
    row = (await kind.read(account_id, [key])).get(key)
    return kind.show(row) if row is not None else None


def global_id(type_name: str, key: UUID) -> ID:
    """The id of a node."""
    return ID(base64.b64encode(f"{type_name}:{key}".encode()).decode())


def parse_id(text: str) -> tuple[str, UUID]:
    """The type and the key that a global id names."""
    try:
        type_name, _, key = base64.b64decode(text, validate=True).decode().partition(":")
        return type_name, UUID(key)
    except (binascii.Error, ValueError):
        raise BadUserInput(f"{_shown(text)} is not an id of this API. Take one from an `id` field.") from None


def key_of(type_name: str, text: str) -> UUID:
    """The key that a global id names, which must be of one type."""
    named, key = parse_id(text)
    if named != type_name:
        raise BadUserInput(f"{_shown(text)} is the id of a {_shown(named)}, where the id of a {type_name} is needed.")
    return key


def optional_key_of(type_name: str, text: str | None) -> UUID | None:
    """The key in a node's id, where one is given."""
    return None if text is None else key_of(type_name, text)


def keys_of(type_name: str, texts: Sequence[str] | None) -> list[UUID] | None:
    """The keys that global ids name; None where there is no list at all."""
    return None if texts is None else [key_of(type_name, text) for text in texts]


def keys_or_nothing(type_name: str, texts: Sequence[str] | None) -> list[UUID] | None:
    """As `keys_of`, for one object of many: what is no id of the type names nothing, which is that object's problem."""
    return None if texts is None else [_key_or_nothing(type_name, text) for text in texts]


def _key_or_nothing(type_name: str, text: str) -> UUID:
    try:
        return key_of(type_name, text)
    except BadUserInput:
        return NOTHING


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
