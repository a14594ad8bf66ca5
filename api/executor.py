"""Completes plain fields of plain objects by compiled plans.

Most of what a page costs is the stock executor deciding the same things again for every field of every object: is
there a resolver, are there arguments, is the type a leaf, may it be null. Here that is decided once per selection set
and operation. Whatever is out of the ordinary for a value (null where none may be, an exception, an awaitable, a
value that does not fit) goes the stock way, which makes the very error that it always makes.

Leans on private names of strawberry-graphql and graphql-core, which are pinned exactly.
tests/api/test_executor.py compares data and errors with the stock executor; SLUICE_FAST_EXECUTOR=false turns it off.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, NamedTuple

from graphql import GraphQLNonNull, GraphQLObjectType, Undefined, is_leaf_type
from graphql.pyutils import Path, gather_with_cancel
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

_PLAIN = frozenset({str, int, float, bool, datetime})
"""What most values are, and need not be asked whether they are anything else."""


class _Step(NamedTuple):
    """One field of a selection set. `leaf` coerces a leaf's values, `of_class` is what an object must be.

    Where both are None, only the stock way will do.
    """

    response_name: str
    details: Any
    attribute: str = ""
    returns: Any = None
    nullable: bool = True
    leaf: Callable[[Any], Any] | None = None
    of_class: type[Any] | None = None


class CompiledExecutor(StrawberryGraphQLCoreExecutionContext):
    """The stock executor, with a shorter way for plain fields."""

    # Keyed by identity, as long as the field set lives; each plan keeps its field set alive.
    _plans: dict[tuple[int, str], tuple[list[_Step], Any]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plans = {}

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: Any,
        position_context: Any,
    ) -> Any:
        """Complete the selected fields of one object."""
        results: dict[str, Any] = {}
        pending: list[str] = []
        is_awaitable = self.is_awaitable
        try:
            for step in self._plan(parent_type, grouped_field_set):
                if step.leaf is not None:
                    value = _completed(step, source_value, is_awaitable)
                    if value is not Undefined:
                        results[step.response_name] = value
                        continue
                field_path = Path(path, step.response_name, parent_type.name)
                result: Any = Undefined
                if step.of_class is not None:
                    result = self._object(step, source_value, field_path, position_context)
                if result is Undefined:
                    result = self.execute_field(parent_type, source_value, step.details, field_path, position_context)
                if result is not Undefined:
                    results[step.response_name] = result
                    if is_awaitable(result):
                        pending.append(step.response_name)
        except Exception:
            if pending:
                self.settle_in_background([results[name] for name in pending])
            raise
        return _gathered(results, pending) if pending else results

    def _plan(self, parent_type: GraphQLObjectType, grouped_field_set: Any) -> list[_Step]:
        key = (id(grouped_field_set), parent_type.name)
        found = self._plans.get(key)
        if found is None:
            steps = [self._step(parent_type, name, details) for name, details in grouped_field_set.items()]
            found = self._plans[key] = (steps, grouped_field_set)
        return found[0]

    def _step(self, parent_type: GraphQLObjectType, response_name: str, details: Any) -> _Step:
        definition = self.schema.get_field(parent_type, details[0].node.name.value)
        field = definition.extensions.get("strawberry-definition") if definition else None
        stock = _Step(response_name, details)
        has_middleware = self.middleware_manager is not None and self.middleware_manager._middleware_resolvers
        if definition is None or field is None or has_middleware:
            return stock
        if not field.is_basic_field or field.default_resolver is not getattr:
            return stock
        if not getattr(definition.resolve, "_is_default", False):
            return stock
        of_type: Any = definition.type
        nullable = not isinstance(of_type, GraphQLNonNull)
        named = of_type if nullable else of_type.of_type
        if is_leaf_type(named):
            return _Step(response_name, details, field.python_name, of_type, nullable, leaf=named.coerce_output_value)
        if isinstance(named, GraphQLObjectType):
            origin = named.extensions["strawberry-definition"].origin
            return _Step(response_name, details, field.python_name, of_type, nullable, of_class=origin)
        return stock

    def _object(self, step: _Step, source: Any, path: Path, position_context: Any) -> Any:
        """The subfields of a plain object, or Undefined where the stock way has to deal with it."""
        try:
            value = getattr(source, step.attribute)
        except Exception:  # noqa: BLE001
            return Undefined
        # Of the very class that the type was declared by, it needs no asking what type it is.
        if type(value) is not step.of_class:
            return Undefined
        named = step.returns if step.nullable else step.returns.of_type
        try:
            result = self.collect_and_execute_subfields(named, step.details, path, value, position_context)
        except Exception as error:  # noqa: BLE001
            self.handle_field_error(error, step.returns, step.details, path)
            return None
        return self._settled(step, path, result) if self.is_awaitable(result) else result

    async def _settled(self, step: _Step, path: Path, result: Awaitable[Any]) -> Any:
        try:
            return await result
        except Exception as error:  # noqa: BLE001
            self.handle_field_error(error, step.returns, step.details, path)
            return None


def _completed(step: _Step, source: Any, is_awaitable: Callable[[Any], bool]) -> Any:
    """The value of a plain field, or Undefined where the stock way has to deal with it."""
    try:
        value = getattr(source, step.attribute)
        if value is None:
            return None if step.nullable else Undefined
        if type(value) not in _PLAIN and (value is Undefined or isinstance(value, Exception) or is_awaitable(value)):
            return Undefined
        completed = step.leaf(value) if step.leaf else Undefined
    except Exception:  # noqa: BLE001
        # The stock way runs into the same error, and reports it as it should be reported.
        return Undefined
    return Undefined if completed is None else completed


async def _gathered(results: dict[str, Any], pending: list[str]) -> dict[str, Any]:
    if len(pending) == 1:
        results[pending[0]] = await results[pending[0]]
        return results
    waiting: list[Awaitable[Any]] = [results[name] for name in pending]
    values = await gather_with_cancel(*waiting)
    results.update(zip(pending, values, strict=True))
    return results
