"""One question to a shop's Admin GraphQL API, and what its refusals mean.

Shopify refuses in three ways: by status, by errors under status 200, and by ignoring what it does not understand of a
search, which only a warning tells. None of them may pass for an answer.

https://shopify.dev/docs/api/usage/response-codes, https://shopify.dev/docs/api/usage/limits
"""

from datetime import timedelta
from typing import Annotated, Any, Generic, NoReturn, TypeVar

import httpx
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from connectors import http
from connectors.base import AccessRevokedError, TransientError, UnexpectedResponseError
from connectors.shopify.shop import Credentials

API_VERSION = "2026-10"
"""https://shopify.dev/docs/api/usage/versioning: answered until autumn 2027, then the oldest one living is."""
CLOSED_FOR = timedelta(hours=1)
"""A shop that is frozen or locked is not asked more often: only its owner can change that."""
GRANT = "Give the app the scope read_customers and access to customers' name, address, email and phone."

Data = TypeVar("Data")


class Shape(BaseModel):
    """Part of an answer, in Shopify's own spelling."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, hide_input_in_errors=True)


class TooCostlyError(UnexpectedResponseError):
    """The question asks for more at once than Shopify answers: ask for less."""


class RefusedError(UnexpectedResponseError):
    """Shopify refuses the question for a reason without a code that we know: an old cursor, for one."""


class _ErrorExtensions(Shape):
    code: str | None = None


class _Error(Shape):
    message: str = ""
    extensions: _ErrorExtensions = _ErrorExtensions()


class _ThrottleStatus(Shape):
    currently_available: float
    restore_rate: Annotated[float, Field(gt=0)]


class _Cost(Shape):
    requested_query_cost: float | None = None
    throttle_status: _ThrottleStatus | None = None


class _Warning(Shape):
    field: str | None = None
    message: str = ""


class _Search(Shape):
    warnings: tuple[_Warning, ...] = ()


class _Extensions(Shape):
    cost: _Cost | None = None
    search: tuple[_Search, ...] = ()


def _as_list(errors: object) -> object:
    return [{"message": errors}] if isinstance(errors, str) else errors or []


class _Envelope(Shape):
    errors: Annotated[tuple[_Error, ...], BeforeValidator(_as_list)] = ()
    extensions: Annotated[_Extensions, BeforeValidator(lambda value: value or {})] = _Extensions()


class _Answer(Shape, Generic[Data]):
    data: Data


async def ask(
    client: httpx.AsyncClient,
    credentials: Credentials,
    shape: type[Data],
    question: str,
    **variables: Any,
) -> Data:
    """Ask a GraphQL question. Returns its `data` as `shape`.

    Raises TransientError, AccessRevokedError or UnexpectedResponseError, of which TooCostlyError and RefusedError are
    for the caller to deal with.
    """
    response = await http.send(
        client,
        "POST",
        f"https://{credentials.shop}/admin/api/{API_VERSION}/graphql.json",
        headers={
            "X-Shopify-Access-Token": credentials.access_token.get_secret_value(),
            # Without it the warnings of a search may stay away.
            "Shopify-Search-Query-Debug": "1",
        },
        json={"query": question, "variables": variables},
    )
    _check_status(response, credentials.shop)
    _check_version(response)
    envelope = http.parse(response, _Envelope)
    if envelope.errors:
        _refuse(envelope, credentials.shop)
    _check_search(envelope.extensions)
    return http.parse(response, _Answer[shape]).data  # type: ignore[valid-type]


def _check_status(response: httpx.Response, shop: str) -> None:
    match response.status_code:
        case 401:
            raise AccessRevokedError(
                f"{shop} no longer accepts the access token: the app was uninstalled, or the token replaced."
            )
        case 402:
            raise TransientError(f"{shop} is frozen until its owner settles the bill.", retry_after=CLOSED_FOR)
        case 403:
            raise AccessRevokedError(f"{shop} refuses access (403). {GRANT}")
        case 404:
            raise UnexpectedResponseError(f"There is no shop at {shop}: check its name.")
        case 423:
            raise TransientError(f"{shop} is locked by Shopify: its owner must ask there.", retry_after=CLOSED_FOR)
        case 430:
            raise TransientError(f"{http.describe(response)}: Shopify suspects misuse of {shop}.")
        case _:
            http.check(response)


def _check_version(response: httpx.Response) -> None:
    answered = response.headers.get("X-Shopify-API-Version", API_VERSION)
    if answered != API_VERSION:
        # What the fields mean in a version never tried is a guess, and the guess would be about consent.
        raise UnexpectedResponseError(
            f"Shopify answers with version {answered} of its API instead of {API_VERSION}, which it has retired. "
            "The operator of this server should update Sluice."
        )


def _refuse(envelope: _Envelope, shop: str) -> NoReturn:
    codes = {error.extensions.code for error in envelope.errors}
    # A field that is refused is refused for each customer of the page.
    told = "; ".join(dict.fromkeys(error.message for error in envelope.errors))[:400]
    if "THROTTLED" in codes:
        raise TransientError(f"{shop} is busy: its limit of requests is reached.", retry_after=_wait(envelope))
    if "MAX_COST_EXCEEDED" in codes:
        raise TooCostlyError(told)
    # The documentation shows the refusal of protected customer data without a code: only its text tells it.
    if "ACCESS_DENIED" in codes or "not approved to" in told:
        raise AccessRevokedError(f"{shop} says: {told} {GRANT}")
    if codes & {"INTERNAL_SERVER_ERROR", "SERVICE_UNAVAILABLE", "TIMEOUT", "SHOP_INACTIVE"}:
        raise TransientError(f"{shop} says: {told}")
    raise RefusedError(f"{shop} says: {told}")


def _wait(envelope: _Envelope) -> timedelta | None:
    """How long the leaky bucket takes to hold what the question costs."""
    cost = envelope.extensions.cost
    if cost is None or cost.requested_query_cost is None or cost.throttle_status is None:
        return None
    missing = cost.requested_query_cost - cost.throttle_status.currently_available
    return timedelta(seconds=max(missing / cost.throttle_status.restore_rate, 0.0))


def _check_search(extensions: _Extensions) -> None:
    warnings = [warning for search in extensions.search for warning in search.warnings]
    if warnings:
        told = "; ".join(f"{warning.field or 'search'}: {warning.message}" for warning in warnings)[:400]
        # An ignored filter brings everybody (R2).
        raise UnexpectedResponseError(
            f"Shopify does not understand the search ({told}). Edit the import's criteria; if it has none, the operator"
            " of this server should update Sluice."
        )
