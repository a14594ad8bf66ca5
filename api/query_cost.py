"""How much a query asks for: its depth, its aliases, and the objects that its pages multiply to.

Each fragment is measured once, however often it is spread: a few hundred nested spreads would otherwise take for ever.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLNamedType,
    GraphQLObjectType,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValidationContext,
    ValidationRule,
    get_named_type,
)

from api.pagination import DEFAULT_SIZE, MAX_SIZE

MAX_DEPTH = 15
MAX_ALIASES = 30
MAX_OBJECTS = 200_000


class Cost(NamedTuple):
    """What a selection set asks for."""

    depth: int
    aliases: int
    objects: int


NOTHING = Cost(0, 0, 0)


class CostRule(ValidationRule):
    """Refuses operations that ask for too much. It reads no variables, so that its answer can be cached."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self._fragments: dict[str, Cost] = {}

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
        """Measure one operation."""
        root = self.context.schema.get_root_type(node.operation)
        cost = self._selections(root, node.selection_set)
        for what, asked, most in (
            ("levels deep", cost.depth, MAX_DEPTH),
            ("aliases", cost.aliases, MAX_ALIASES),
            ("objects, as its pages multiply", cost.objects, MAX_OBJECTS),
        ):
            if asked > most:
                message = f"This operation asks for too much: {asked} {what}, where {most} are allowed. Split it up."
                self.report_error(GraphQLError(message, [node], extensions={"code": "TOO_COMPLEX"}))

    def _selections(self, parent: GraphQLNamedType | None, selections: SelectionSetNode | None) -> Cost:
        if selections is None:
            return NOTHING
        costs = [self._selection(parent, selection) for selection in selections.selections]
        return Cost(
            depth=max((cost.depth for cost in costs), default=0),
            aliases=sum(cost.aliases for cost in costs),
            objects=sum(cost.objects for cost in costs),
        )

    def _selection(self, parent: GraphQLNamedType | None, node: SelectionNode) -> Cost:
        match node:
            case FieldNode():
                return self._field(parent, node)
            case InlineFragmentNode():
                condition = node.type_condition
                narrowed = self.context.schema.get_type(condition.name.value) if condition else parent
                return self._selections(narrowed, node.selection_set)
            case FragmentSpreadNode():
                return self._fragment(node.name.value)
        return NOTHING

    def _fragment(self, name: str) -> Cost:
        if name not in self._fragments:
            # A fragment that spreads itself is refused by another rule; here it must not be followed.
            self._fragments[name] = NOTHING
            fragment: FragmentDefinitionNode | None = self.context.get_fragment(name)
            if fragment is not None:
                on = self.context.schema.get_type(fragment.type_condition.name.value)
                self._fragments[name] = self._selections(on, fragment.selection_set)
        return self._fragments[name]

    def _field(self, parent: GraphQLNamedType | None, node: FieldNode) -> Cost:
        name = node.name.value
        aliases = 1 if node.alias else 0
        # graphql-core limits introspection by a rule of its own.
        definition = parent.fields.get(name) if isinstance(parent, GraphQLObjectType) else None
        if definition is None or node.selection_set is None:
            return Cost(0 if name.startswith("__") else 1, aliases, 0)
        below = self._selections(get_named_type(definition.type), node.selection_set)
        size = _page_size(node) if "first" in definition.args else 1
        return Cost(below.depth + 1, below.aliases + aliases, size * (below.objects + 1))


def _page_size(node: FieldNode) -> int:
    """How many objects a connection may return. A variable counts as the most that it can be."""
    sizes = list(_sizes(node))
    return max(sizes) if sizes else DEFAULT_SIZE


def _sizes(node: FieldNode) -> Iterator[int]:
    for argument in node.arguments or ():
        if argument.name.value in ("first", "last"):
            literal = argument.value
            yield min(int(literal.value), MAX_SIZE) if isinstance(literal, IntValueNode) else MAX_SIZE
