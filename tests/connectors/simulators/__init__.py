"""Stateful simulators of the services that cannot be installed here, by service key."""

from collections.abc import Callable, Mapping

from tests.connectors.simulators.kit import Simulator

SIMULATORS: Mapping[str, Callable[[int], Simulator]] = {}
"""Each makes one with so many people."""
