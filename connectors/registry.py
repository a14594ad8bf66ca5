"""Every service that contacts can be imported from, by the key it is stored with."""

from collections.abc import Mapping

from connectors.asana import SERVICE as ASANA
from connectors.base import Service
from connectors.carddav import SERVICE as CARDDAV
from connectors.csv_url import SERVICE as CSV_URL
from connectors.google_contacts import SERVICE as GOOGLE_CONTACTS
from connectors.shopify import SERVICE as SHOPIFY
from connectors.trello import SERVICE as TRELLO
from connectors.woocommerce import SERVICE as WOOCOMMERCE

SERVICES: Mapping[str, Service] = {
    service.key: service
    for service in (
        ASANA,
        CARDDAV,
        CSV_URL,
        GOOGLE_CONTACTS,
        SHOPIFY,
        TRELLO,
        WOOCOMMERCE,
    )
}
