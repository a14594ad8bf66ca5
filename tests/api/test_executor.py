"""The compiled executor answers exactly as the stock one: the same data, the same errors."""

import asyncio
import gc
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import strawberry
from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    get_named_type,
    is_leaf_type,
    is_required_argument,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from api.contacts import Contact
from api.context import Context
from api.executor import CompiledExecutor
from api.import_runs.types import ImportRun, ImportRunError, OutcomeCounts
from api.schema import build_schema
from domain import account, database, download_grants
from domain.account import Viewer
from domain.enums import ContactStatus, RunState, RunTrigger
from tests import databases
from tests.api.world import make_world
from tests.fakes import DeafWatch, FakeCatalogue, RecordingEvents, RecordingQueue

FAST, STOCK = build_schema(fast_executor=True), build_schema(fast_executor=False)
MAX_LEVELS = 5


@st.composite
def selections(draw: st.DrawFn, parent: GraphQLObjectType | GraphQLInterfaceType, levels: int = MAX_LEVELS) -> str:
    """A selection set on `parent`: fields, aliases, directives, fragments."""
    names = sorted(name for name, definition in parent.fields.items() if _can_select(definition, levels))
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=5, unique=True)) if names else []
    parts = ["__typename"] if not names or draw(st.booleans()) else []
    for name in chosen:
        text = name + draw(arguments(parent.fields[name]))
        named = get_named_type(parent.fields[name].type)
        if isinstance(named, GraphQLObjectType | GraphQLInterfaceType):
            text += draw(selections(named, levels - 1))
        alias = draw(st.sampled_from(["", "", f"{name}_again: ", f"also_{name}: "]))
        directive = draw(st.sampled_from(["", "", "", " @include(if: $yes)", " @skip(if: $yes)"]))
        head, _, rest = text.partition("{")
        parts.append(f"{alias}{head}{directive}{'{' + rest if rest else ''}")
    if draw(st.booleans()):
        parts.append(f"... on {parent.name} {{ {parts[0]} }}")
    return " { " + " ".join(parts) + " }"


def _can_select(definition: GraphQLField, levels: int) -> bool:
    if any(is_required_argument(each) for each in definition.args.values()):
        return "criterion" in definition.args
    return is_leaf_type(get_named_type(definition.type)) or levels > 0


@st.composite
def arguments(draw: st.DrawFn, definition: GraphQLField) -> str:
    """Some of the arguments that fields of our schema take, good and bad."""
    given_ = []
    if "first" in definition.args:
        given_ += draw(st.sampled_from([[], ["first: 2"], ["last: 1"], ["first: 101"], ['after: "nonsense"']]))
    if "criterion" in definition.args:
        given_ += draw(st.sampled_from([['criterion: "group"'], ['criterion: "nope"']]))
    if "keys" in definition.args:
        given_ += draw(st.sampled_from([[], ['keys: ["SAMPLE_CITY"]'], ["keys: []"]]))
    return f"({', '.join(given_)})" if given_ else ""


@dataclass(slots=True)
class Running:
    """An open database with one account's world in it."""

    runner: asyncio.Runner
    viewer: Viewer
    contexts: list[Context] = field(default_factory=list)

    def answers(self, query: str) -> list[tuple[Any, Any]]:
        """The same query's data and errors, from either executor."""
        return [self.runner.run(self._answer(schema, query)) for schema in (FAST, STOCK)]

    async def _answer(self, schema: strawberry.Schema, query: str) -> tuple[Any, Any]:
        context = Context(
            catalogue=FakeCatalogue(),
            queue=RecordingQueue(),
            events=RecordingEvents(),
            watch=DeafWatch(),
            viewer=self.viewer,
        )
        result = await schema.execute(query, context_value=context, variable_values={"yes": True})
        return result.data, [error.formatted for error in result.errors or ()]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        # A link is another one each time it is asked for, whoever answers.
        patch.setattr(download_grants, "grant", lambda viewer, subject: f"{viewer.account_id} {subject}")
        fresh = databases.fresh_database()
        runner.run(database.open_database(runner.run(fresh.__aenter__())))
        yield Running(runner, runner.run(_viewer()))
        runner.run(database.close_database())
        runner.run(fresh.__aexit__(None, None, None))


async def _viewer() -> Viewer:
    owner = await account.find_or_create_account("Acme")
    await make_world(owner.id)
    viewer = await account.authenticate(await account.create_token(owner.id))
    assert viewer is not None
    return viewer


QUERY_TYPE = FAST._schema.query_type
assert QUERY_TYPE is not None


@pytest.fixture
def collected() -> Iterator[None]:
    """Collects what a test leaves behind while its own filters hold."""
    yield
    gc.collect()


# Either executor cancels the fields beside one that failed, some of which have not begun.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.usefixtures("collected")
@given(selection=selections(QUERY_TYPE))
@example(selection="{ importRuns { edges { node { outcomesCsvUrl } } } }")
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_generated_queries_on_our_schema_get_the_same_answer(running: Running, selection: str) -> None:
    # A variable that nothing uses would be all that either of them says.
    used = selection.replace("{", "{ yes: __typename @include(if: $yes) ", 1)
    fast, stock = running.answers(f"query ($yes: Boolean! = true) {used}")

    assert fast == stock
    assert list(fast[0] or ()) == list(stock[0] or ())


class Raises:
    """What no leaf can be made of."""

    def __str__(self) -> str:
        raise ArithmeticError("no text")


# What a field may find: good values, and every kind that does not fit.
VALUES = st.sampled_from(
    [
        "text", "", 1, -1, 2**40, 1.5, True, None, [], {}, b"x", object(), Raises(), ValueError("as a value"),
        datetime(2026, 1, 1, tzinfo=UTC), ContactStatus.ACTIVE, RunState.FAILED, "ACTIVE",
    ]
)  # fmt: skip


@strawberry.type
class Root:
    contacts: list[Contact | None]
    runs: list[ImportRun]
    one: Contact | None


def _odd(of: type[Any], values: dict[str, Any]) -> Any:
    """An object of a type of ours, with any values at all."""
    made = object.__new__(of)
    for name, value in values.items():
        setattr(made, name, value)
    return made


def _contacts() -> st.SearchStrategy[Any]:
    names = ("id", "email", "first_name", "last_name", "phone", "status", "created_at", "updated_at")
    # An attribute that is missing altogether is one more way to go wrong.
    return st.builds(lambda values: _odd(Contact, values), st.dictionaries(st.sampled_from(names), VALUES, min_size=3))


def _runs() -> st.SearchStrategy[Any]:
    counts = st.builds(lambda read: _odd(OutcomeCounts, {"read": read, "created": 1}), VALUES)
    return st.builds(
        lambda state, revision, waiting, counts, error: _odd(
            ImportRun,
            {
                "id": "x",
                "state": state,
                "trigger": RunTrigger.USER,
                "revision": revision,
                "waiting_until": waiting,
                "counts": counts,
                "error": error,
            },
        ),
        VALUES,
        VALUES,
        VALUES,
        counts | VALUES,
        st.none() | st.builds(lambda code: _odd(ImportRunError, {"code": code, "message": "m"}), VALUES),
    )


ODD_FAST, ODD_STOCK = (
    strawberry.Schema(Root, execution_context_class=executor) for executor in (CompiledExecutor, None)
)
ODD_QUERY = """{
    contacts { id email firstName lastName phone status createdAt updatedAt again: email }
    one { __typename ...names }
    runs { id state revision waitingUntil counts { read created } error { code message } }
} fragment names on Contact { email firstName ... on Node { id } }"""


@given(
    contacts=st.lists(st.none() | _contacts(), max_size=3),
    runs=st.lists(_runs(), max_size=3),
    one=VALUES | _contacts(),
)
@settings(max_examples=200, deadline=None)
def test_values_that_do_not_fit_meet_the_same_errors(contacts: list[Any], runs: list[Any], one: Any) -> None:
    root = Root(contacts=contacts, runs=runs, one=one)

    fast, stock = (schema.execute_sync(ODD_QUERY, root_value=root) for schema in (ODD_FAST, ODD_STOCK))

    assert fast.data == stock.data
    assert [error.formatted for error in fast.errors or ()] == [error.formatted for error in stock.errors or ()]


async def test_awaitables_in_plain_fields_are_awaited_as_ever() -> None:
    async def later(value: object) -> object:
        return value

    def odd() -> Contact:
        made: Contact = _odd(Contact, {"id": later("1"), "email": later(None), "first_name": later("Ann")})
        return made

    def root() -> Root:
        return Root(contacts=[odd()], runs=[], one=odd())

    query = "{ contacts { id firstName email } one { id firstName email } }"
    fast, stock = [await schema.execute(query, root_value=root()) for schema in (ODD_FAST, ODD_STOCK)]

    assert fast.data == stock.data == {"contacts": [None], "one": None}
    assert [error.formatted for error in fast.errors or ()] == [error.formatted for error in stock.errors or ()]
