"""The rules of this house that no linter knows."""

import ast
import re
from pathlib import Path

import pytest

from api.schema import schema
from domain.settings import Settings
from tests.readme_tables import TABLE, services_table

ROOT = Path(__file__).parent.parent
CODE = sorted(module for top in ("api", "domain", "connectors", "jobs") for module in (ROOT / top).rglob("*.py"))
MODULES = [module for module in CODE if "migrations" not in module.parts]
README = (ROOT / "README.md").read_text()


def name(module: Path) -> str:
    return str(module.relative_to(ROOT))


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_modules_are_small_and_named_for_what_they_hold(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= 300
    assert module.stem not in {"utils", "helpers", "common", "misc", "services", "managers"}


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_functions_are_small(module: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    too_long = {node.name: node.end_lineno for node in functions if (node.end_lineno or 0) - node.lineno >= 60}
    assert too_long == {}


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_imports_stand_at_the_top(module: Path) -> None:
    tree = ast.parse(module.read_text())
    inner = [
        node.lineno
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert inner == []


def test_the_committed_schema_is_the_real_one() -> None:
    assert (ROOT / "api/schema.graphql").read_text() == schema.as_str() + "\n"


def test_the_connector_to_read_first_is_short() -> None:
    assert len((ROOT / "connectors/csv_url.py").read_text().splitlines()) <= 150


def test_every_connector_is_named_in_the_import_contract() -> None:
    contracts = (ROOT / "pyproject.toml").read_text()
    modules = {module.stem for module in (ROOT / "connectors").iterdir() if not module.name.startswith("__")}
    line = next(line for line in contracts.splitlines() if line.startswith('layers = ["connectors.registry"'))
    assert set(re.findall(r"connectors\.(\w+)", line)) == modules


def table(heading: str) -> list[list[str]]:
    """The cells of the README's first table under `heading`."""
    section = README.split(f"\n{heading}\n", 1)[1]
    rows = [line for line in section.split("\n#", 1)[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


def test_the_readme_lists_every_setting_as_the_code_has_it() -> None:
    expected = [
        [f"`SLUICE_{key.upper()}`", "" if field.default in (None, (), {}) else f"`{field.default}`", field.description]
        for key, field in Settings.model_fields.items()
    ]
    assert table("### Settings") == expected


def test_the_readme_lists_every_service_as_the_registry_has_it() -> None:
    assert TABLE.findall(README) == [services_table()], "uv run poe readme writes it"
