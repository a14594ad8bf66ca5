"""Every service that contacts can be imported from, by the key it is stored with."""

from collections.abc import Mapping

from connectors.asana.connector import SERVICE as ASANA
from connectors.base import Service
from connectors.carddav.connector import SERVICE as CARDDAV
from connectors.csv_url import SERVICE as CSV_URL
from connectors.google_contacts.connector import SERVICE as GOOGLE_CONTACTS
from connectors.shopify.connector import SERVICE as SHOPIFY
from connectors.trello.connector import SERVICE as TRELLO
from connectors.woocommerce.connector import SERVICE as WOOCOMMERCE

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
