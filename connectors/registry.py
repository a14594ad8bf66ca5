"""Every service that contacts can be imported from, by the key it is stored with."""

from collections.abc import Mapping

from connectors.base import Service
from connectors.carddav import SERVICE as CARDDAV

SERVICES: Mapping[str, Service] = {service.key: service for service in (CARDDAV,)}
