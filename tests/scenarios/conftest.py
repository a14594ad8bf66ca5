"""What the stories start from."""

from collections.abc import AsyncIterator

import pytest

from tests.configuration import Configure
from tests.jobs.conftest import redis
from tests.jobs.scripted import Stage, make_stage
from tests.scenarios.services import Services, services_world

__all__ = ("redis", "services", "stage")


@pytest.fixture
async def stage(database: None) -> Stage:
    """One external account of the scripted service, due now."""
    return await make_stage()


@pytest.fixture
async def services(database: None, configure: Configure) -> AsyncIterator[Services]:
    """An account on a server that is registered at every vendor."""
    async with services_world(configure) as world:
        yield world
