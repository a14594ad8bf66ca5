"""How a shop's owner lets WooCommerce make a key for us: the shop posts it to our callback.

The shop first posts the key, and only where that was answered with 200 sends the browser to the same address, with
success=1. Where the owner declines, it sends the browser alone, with success=0. Both bring back `user_id`, the state.

https://woocommerce.github.io/woocommerce-rest-api-docs/#rest-api-keys
"""

from collections.abc import Mapping

import httpx
from pydantic import ValidationError

from connectors.base import AccessRevokedError, Attempt, Authorization, UnexpectedResponseError
from connectors.woocommerce.api import Credentials, Shop

READS = frozenset({"read", "read_write"})


def start(attempt: Attempt) -> str:
    """The page where the owner agrees. The shop posts keys to nothing but https."""
    parameters = {
        "app_name": "Sluice",
        "scope": "read",
        "user_id": attempt.state,
        "return_url": attempt.redirect_uri,
        "callback_url": attempt.redirect_uri,
    }
    return str(httpx.URL(f"{attempt.details.url}/wc-auth/v1/authorize", params=parameters))


async def finish(client: httpx.AsyncClient, attempt: Attempt, answer: Mapping[str, str]) -> Credentials:
    """The key that the shop posted. Nothing is asked: `identify` tries it."""
    if answer.get("success") == "0":
        raise AccessRevokedError("Access was declined on the page of the shop.")
    if "consumer_key" not in answer or "consumer_secret" not in answer:
        raise UnexpectedResponseError("The shop has sent no key. Connect again, or create a key there and enter it.")
    if answer.get("key_permissions", "read") not in READS:
        raise AccessRevokedError("The shop's key may not read. Connect again.")
    try:
        return Credentials(
            url=attempt.details.url,
            consumer_key=answer["consumer_key"],
            consumer_secret=answer["consumer_secret"],
        )
    except ValidationError:
        raise UnexpectedResponseError("What the shop sent is no key. Connect again.") from None


AUTHORIZATION = Authorization(details=Shop, start=start, finish=finish, needs_registration=False, needs_https=True)
