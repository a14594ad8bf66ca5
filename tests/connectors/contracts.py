"""Vendors' machine-readable contracts (OpenAPI), and recorded exchanges held against them.

The contracts are no part of the project: they lie in `shared/contracts` beside its root, and tests that need one are
skipped where it is absent.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from openapi_core import OpenAPI
from openapi_core.configurations import Config
from openapi_core.testing import MockRequest, MockResponse
from openapi_core.validation.exceptions import ValidationError
from openapi_core.validation.request import V30RequestParametersValidator

from tests.connectors.simulators.kit import Exchange

CONTRACTS = Path(__file__).parents[2].parent / "shared" / "contracts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """One vendor's OpenAPI document, and the library's view of it."""

    document: Mapping[str, Any]
    openapi: OpenAPI


@cache
def contract(file: str, *, closed: bool = True, corrected: Callable[[dict[str, Any]], None] | None = None) -> Contract:
    """Read a contract; skips the test where it is absent.

    `closed`: an answer may hold only what the contract names. Not for contracts that compose their schemas (allOf).
    `corrected` changes the document where it is known to fall short of the service.
    """
    path = CONTRACTS / file
    if not path.exists():
        pytest.skip(f"the vendor's contract {path} is absent")
    document = json.loads(path.read_text())
    if corrected is not None:
        corrected(document)
    # A user's consent is no key in a header: the simulators check who asks.
    document["security"] = []
    for operation in (each for item in document["paths"].values() for each in item.values() if isinstance(each, dict)):
        operation.pop("security", None)
    config = Config(
        spec_validator_cls=None,
        request_validator_cls=V30RequestParametersValidator,
        additional_properties_default_policy="forbid" if closed else "allow",
    )
    return Contract(document=document, openapi=OpenAPI.from_dict(document, config=config))


def violations(held: Contract, exchanges: Iterable[Exchange]) -> list[str]:
    """What requests and answers do against the contract; answers only of the statuses that it describes."""
    return [f"{each.method} {each.url}: {found}" for each in exchanges for found in _violations(held, each)]


def _violations(held: Contract, exchange: Exchange) -> Iterable[str]:
    url = exchange.url
    request = MockRequest(
        f"{url.scheme}://{url.host}",
        exchange.method,
        url.raw_path.decode().partition("?")[0],
        # As werkzeug's dictionaries have it: several values of a name are a list.
        args={name: url.params.get_list(name) for name in url.params},
        headers=dict(exchange.headers),
    )
    operation = _operation(held, exchange)
    if operation is None:
        yield "the contract has no such operation"
        return
    known = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}
    yield from (f"the parameter {name} is unknown" for name in sorted({*url.params} - known))
    for error in held.openapi.iter_request_errors(request):
        yield from _reasons(error)
    if str(exchange.status) not in operation["responses"]:
        if exchange.status < 400:
            yield f"the contract has no answer {exchange.status}"
        return
    kind = exchange.answer_headers.get("content-type", "").partition(";")[0]
    response = MockResponse(exchange.answer, exchange.status, content_type=kind)
    for error in held.openapi.iter_response_errors(request, response):
        yield from _reasons(error)


def _operation(held: Contract, exchange: Exchange) -> dict[str, Any] | None:
    """The operation with the parameters of its path; a path without a variable comes before one with."""
    document = held.document
    bases = [re.sub(r"^https?://[^/]+", "", server["url"]).rstrip("/") for server in document["servers"]]
    paths = sorted(document["paths"], key=lambda path: path.count("{"))
    asked = exchange.url.raw_path.decode().partition("?")[0]
    for path in paths:
        pattern = re.sub(r"\\{[^}]+\\}", "[^/]+", re.escape(path))
        if any(re.fullmatch(re.escape(base) + pattern, asked) for base in bases):
            item = document["paths"][path]
            operation = item.get(exchange.method.lower())
            if operation is None:
                return None
            parameters = [*operation.get("parameters", ()), *item.get("parameters", ())]
            return {**operation, "parameters": [_resolved(document, each) for each in parameters]}
    return None


def _resolved(document: Mapping[str, Any], item: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in item:
        found: Any = document
        for part in item["$ref"].removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        item = found
    return item


def _reasons(error: Exception) -> list[str]:
    cause = error.__cause__
    errors = getattr(cause, "schema_errors", None)
    if errors:
        return [f"{'.'.join(str(part) for part in each.absolute_path)}: {each.message[:300]}" for each in errors]
    return [f"{error}{f': {cause}' if isinstance(cause, ValidationError | ValueError) else ''}"]
