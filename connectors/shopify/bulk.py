"""A bulk operation: Shopify writes every customer into a file, a line each, which is then read in parts.

The file lies at another host, under an address that opens it without a token: it is asked for anew each time, and
stored nowhere. Each line is as old as the moment when the operation passed it.

https://shopify.dev/docs/api/usage/bulk-operations/queries
"""

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import httpx
from pydantic import TypeAdapter, ValidationError

from connectors import http
from connectors.base import AccessRevokedError, CheckpointExpiredError, TransientError, UnexpectedResponseError
from connectors.shopify.api import GRANT, Shape, ask
from connectors.shopify.customers import Customer
from connectors.shopify.shop import Credentials

PART_BYTES = 1024 * 1024
LONGEST_LINE = 16 * PART_BYTES

# Never sorted: with a sort key Shopify leaves records out (estuary/connectors#4679).
START = """
mutation ($query: String!) {
  bulkOperationRunQuery(query: $query, groupObjects: false) { bulkOperation { id } userErrors { code message } }
}
"""
POLL = """
query ($id: ID!) { bulkOperation(id: $id) { status errorCode url rootObjectCount } }
"""


class BulkFailedError(UnexpectedResponseError):
    """The operation came to nothing: the customers have to be read in pages."""


class _Id(Shape):
    id: str


class _UserError(Shape):
    code: str | None = None
    message: str = ""


class _Payload(Shape):
    bulk_operation: _Id | None
    user_errors: tuple[_UserError, ...]


class _Started(Shape):
    bulk_operation_run_query: _Payload | None


class Operation(Shape):
    """How far an operation is. `url`: of the file, None where it would be empty, or is not written yet."""

    status: str
    error_code: str | None
    url: str | None
    root_object_count: int

    @property
    def is_running(self) -> bool:
        """Whether it has to be waited for."""
        return self.status in {"CREATED", "RUNNING", "CANCELING"}


class _Polled(Shape):
    bulk_operation: Operation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Some customers of the file, the byte behind them, and whether the file ends there."""

    customers: Sequence[Customer]
    end: int
    is_last: bool


async def start(client: httpx.AsyncClient, credentials: Credentials, query: str | None, selection: str) -> str | None:
    """Start an operation. Returns its id; None where others have to end first. Raises BulkFailedError."""
    searched = f"(query: {json.dumps(query, ensure_ascii=False)})" if query else ""
    inner = f"{{ customers{searched} {{ edges {{ node {{ {selection} }} }} }} }}"
    payload = (await ask(client, credentials, _Started, START, query=inner)).bulk_operation_run_query
    if payload is None:
        raise BulkFailedError("Shopify did not start a bulk operation.")
    if {"OPERATION_IN_PROGRESS", "LIMIT_REACHED"} & {error.code for error in payload.user_errors}:
        return None
    if payload.user_errors or payload.bulk_operation is None:
        told = "; ".join(error.message for error in payload.user_errors)[:400]
        raise BulkFailedError(f"Shopify did not start a bulk operation: {told}")
    return payload.bulk_operation.id


async def poll(client: httpx.AsyncClient, credentials: Credentials, operation_id: str) -> Operation:
    """Look how far it is. Raises BulkFailedError; CheckpointExpiredError where the file is gone, after seven days."""
    operation = (await ask(client, credentials, _Polled, POLL, id=operation_id)).bulk_operation
    if operation is None:
        raise BulkFailedError("Shopify does not know its bulk operation any more.")
    if operation.is_running or operation.status == "COMPLETED":
        return operation
    if operation.status == "EXPIRED":
        raise CheckpointExpiredError("The file of the bulk operation has expired.")
    if operation.error_code == "ACCESS_DENIED":
        raise AccessRevokedError(f"{credentials.shop} refuses access to its customers. {GRANT}")
    raise BulkFailedError(f"The bulk operation ended {operation.status} ({operation.error_code}).")


async def read(client: httpx.AsyncClient, url: str, *, begin: int, most: int) -> AsyncGenerator[Lines, None]:
    """Read a file from byte `begin` on, at most `most` lines at a time. Raises BulkFailedError where refused."""
    if httpx.URL(url).scheme != "https":
        raise BulkFailedError("The file of the bulk operation has no https address.")
    buffer, is_end = b"", False
    while True:
        while not is_end and buffer.count(b"\n") < most and (len(buffer) < PART_BYTES or b"\n" not in buffer):
            if len(buffer) > LONGEST_LINE:
                raise UnexpectedResponseError("A line of the bulk operation's file has no end.")
            got, is_end = await _part(client, url, begin + len(buffer))
            buffer += got
        lines = buffer.split(b"\n", most)
        # Behind the last line's end nothing follows, or what is kept for the next time.
        rest = lines.pop() if len(lines) > most or not is_end else b""
        begin += len(buffer) - len(rest)
        buffer = rest
        is_last = is_end and not buffer
        yield Lines(
            customers=[each for line in lines if (each := _customer(line)) is not None], end=begin, is_last=is_last
        )
        if is_last:
            return


async def _part(client: httpx.AsyncClient, url: str, start: int) -> tuple[bytes, bool]:
    try:
        got, is_end = await http.part(client, url, start=start, length=PART_BYTES)
    except (AccessRevokedError, UnexpectedResponseError) as error:
        # It is the file's host that refuses, whatever the shop allows.
        raise BulkFailedError(str(error)) from error
    if not got and not is_end:
        raise TransientError("The file of the bulk operation came without content.")
    return got, is_end


_LINE = TypeAdapter(dict[str, object])


def _customer(line: bytes) -> Customer | None:
    """None for an empty line and for what belongs to a customer, for which we did not ask."""
    if not line.strip():
        return None
    try:
        read_line = _LINE.validate_json(line)
        return None if "__parentId" in read_line else Customer.model_validate(read_line)
    except ValidationError as error:
        place = error.errors(include_input=False, include_url=False, include_context=False)[0]
        found = f"{'.'.join(str(part) for part in place['loc'])} {place['msg']}"
        raise UnexpectedResponseError(f"A line of the bulk operation's file is not as documented: {found}") from None
