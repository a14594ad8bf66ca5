"""Stateful simulators of the services that cannot be installed here, by service key."""

from collections.abc import Callable, Mapping

from tests.connectors.simulators import asana, carddav, csv_url, google_contacts, shopify, trello, woocommerce
from tests.connectors.simulators.kit import Simulator

SIMULATORS: Mapping[str, Callable[[int], Simulator]] = {
    "asana": asana.make,
    "carddav": carddav.make,
    "csv_url": csv_url.make,
    "google_contacts": google_contacts.make,
    "shopify": shopify.make,
    "trello": trello.make,
    "woocommerce": woocommerce.make,
}
"""Each makes one with so many people."""
