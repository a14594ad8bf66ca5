"""A customer of the simulated shop: as they are, and as the search index knows them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


def moment_text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(slots=True, kw_only=True)
class Person:
    """A customer. `metafields` are type and value by namespace and key; `indexed` is what the search knows."""

    number: int
    email: str | None
    first_name: str | None
    last_name: str | None
    created_at: datetime
    updated_at: datetime
    phone: str | None = None
    note: str | None = None
    tags: list[str] = field(default_factory=list)
    orders: int = 0
    spent: str = "0.0"
    marketing_state: str = "SUBSCRIBED"
    opt_in_level: str | None = "SINGLE_OPT_IN"
    address: Mapping[str, str] | None = None
    metafields: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    indexed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def gid(self) -> str:
        return f"gid://shopify/Customer/{self.number}"

    def index(self) -> None:
        """Let the search index learn of the customer as they are."""
        self.indexed = {
            "id": self.number,
            "updated_at": self.updated_at,
            "customer_date": self.created_at,
            "email": self.email or "",
            "first_name": self.first_name or "",
            "last_name": self.last_name or "",
            "phone": self.phone or "",
            "country": (self.address or {}).get("country", ""),
            "state": "DISABLED",
            "accepts_marketing": str(self.marketing_state == "SUBSCRIBED").lower(),
            "orders_count": self.orders,
            "total_spent": self.spent,
            "tag": [*self.tags],
        }

    def node(self) -> dict[str, Any]:
        """The customer as the API answers, but for what an app may not read."""
        email = {
            "emailAddress": self.email,
            "marketingState": self.marketing_state,
            "marketingOptInLevel": self.opt_in_level,
        }
        address = {"id": f"gid://shopify/MailingAddress/{self.number}", **(self.address or {})}
        return {
            "__typename": "Customer",
            "id": self.gid,
            "legacyResourceId": str(self.number),
            "createdAt": moment_text(self.created_at),
            "updatedAt": moment_text(self.updated_at),
            "firstName": self.first_name,
            "lastName": self.last_name,
            "locale": "en-CA",
            "note": self.note,
            "tags": self.tags,
            "numberOfOrders": str(self.orders),
            "amountSpent": {"amount": self.spent, "currencyCode": "EUR"},
            "defaultEmailAddress": email if self.email is not None else None,
            "defaultPhoneNumber": {"phoneNumber": self.phone} if self.phone else None,
            "defaultAddress": address if self.address else None,
            "metafield": self._metafield,
        }

    def _metafield(self, _: Any, key: str, namespace: str = "custom") -> dict[str, Any] | None:
        known = self.metafields.get((namespace, key))
        if known is None:
            return None
        kind, value = known
        return {"id": "gid://shopify/Metafield/1", "namespace": namespace, "key": key, "type": kind, "value": value}
