"""Which customers to import, and how that is said in Shopify's search syntax.

https://shopify.dev/docs/api/usage/search-syntax
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from connectors.shopify.customers import Customer

FILTERS = (
    "accepts_marketing", "city", "company", "country", "customer_date", "email", "email_marketing_state", "first_name",
    "id", "last_abandoned_order_date", "last_name", "order_date", "orders_count", "phone", "province",
    "sms_marketing_state", "state", "tag", "tag_not", "territory_code", "total_spent", "updated_at",
)  # fmt: skip
"""What customers can be searched by; metafields too: `metafields.custom.size:XL`.

https://shopify.dev/docs/api/admin-graphql/2026-10/queries/customers,
https://shopify.dev/changelog/re-enabled-customer-search-terms
"""

QUOTED = re.compile(r"""\\.|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""")

OPT_OUTS = frozenset({"UNSUBSCRIBED", "REDACTED"})
AGREED = {
    "SUBSCRIBED": frozenset({"SUBSCRIBED"}) | OPT_OUTS,
    "SUBSCRIBED_OR_PENDING": frozenset({"SUBSCRIBED", "PENDING"}) | OPT_OUTS,
}


def _tag(text: str) -> str:
    tag = text.strip()
    if not tag or "," in tag:
        raise ValueError("must be one tag each, without a comma")
    return tag


def _search(text: str | None) -> str | None:
    """What can be seen of a search without asking Shopify, which would ignore a mistake and import everybody."""
    if text is None or not text.strip():
        return None
    bare = QUOTED.sub("_", text)
    if re.search(r"""["'\\]""", bare):
        raise ValueError("has a quotation mark without its counterpart")
    depth = 0
    for letter in bare:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            break
    if depth:
        raise ValueError("has a parenthesis without its counterpart")
    for name in re.findall(r"([^\s():]+)\s*:", bare):
        known = name.removeprefix("-").lower()
        if known not in FILTERS and not re.fullmatch(r"metafields\.[^.]+\.[^.]+", known):
            raise ValueError(
                f"has a filter {name!r} that Shopify does not know for customers; put values with a colon into"
                f" quotation marks. Filters: {', '.join(FILTERS)}"
            )
    return text.strip()


class Criteria(BaseModel):
    """Which customers to import."""

    model_config = ConfigDict(extra="forbid")

    tags: list[Annotated[str, Field(max_length=255), AfterValidator(_tag)]] = Field(
        default_factory=list,
        max_length=50,
        title="Customer tags",
        description="Only customers with at least one of these tags; all of them if left empty.",
    )
    marketing: Literal["EVERYBODY", "SUBSCRIBED", "SUBSCRIBED_OR_PENDING"] = Field(
        "EVERYBODY",
        title="E-mail marketing",
        description="Only customers who agreed to marketing by e-mail. Those who opted out come too, as unsubscribed: "
        "otherwise nobody who opts out at Shopify later would be known here.",
    )
    search: Annotated[str | None, AfterValidator(_search)] = Field(
        None,
        max_length=1000,
        title="Search",
        description="Only customers whom this search of Shopify finds, like orders_count:>2 AND country:Canada.",
    )

    @property
    def is_narrow(self) -> bool:
        """Whether not everybody matches."""
        return self != Criteria()

    def match(self, customer: Customer) -> bool:
        """Whether the customer matches but for the search, which only Shopify can tell.

        Its index is behind, with tags most of all, so what it finds is looked at again.
        """
        email = customer.default_email_address
        if self.marketing != "EVERYBODY" and (not email or email.marketing_state not in AGREED[self.marketing]):
            return False
        return not self.tags or bool(_folded(self.tags) & _folded(customer.tags))

    def everybody(self, *, behind: int = 0) -> str | None:
        """The search for all who match and whose ids are greater than `behind`; None for all there are."""
        tags = " OR ".join(f"tag:{_quoted(tag)}" for tag in self.tags)
        return _all(f"id:>{behind}" if behind else "", tags, self.search)

    def changed_since(self, bound: datetime) -> str | None:
        """The search for those changed since; their tags are only looked at here, as the index learns of them last."""
        moment = bound.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return _all(f"updated_at:>='{moment}'", self.search)


def _folded(tags: Sequence[str]) -> set[str]:
    return {tag.strip().casefold() for tag in tags}


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _all(*parts: str | None) -> str | None:
    wanted = [part for part in parts if part]
    return " AND ".join(f"({part})" for part in wanted) if len(wanted) > 1 else next(iter(wanted), None)
