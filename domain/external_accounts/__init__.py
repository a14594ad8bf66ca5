"""Connected logins at services: reading them, and the changes that users make."""

from domain.external_accounts.connecting import (
    connect,
    criteria_choices,
    disconnect,
    get,
    keep_again,
    keep_new,
    reconnect,
)
from domain.external_accounts.reading import ExternalAccountRow, by_ids, of_services, page

__all__ = [
    "ExternalAccountRow",
    "by_ids",
    "connect",
    "criteria_choices",
    "disconnect",
    "get",
    "keep_again",
    "keep_new",
    "of_services",
    "page",
    "reconnect",
]
