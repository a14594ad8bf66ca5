"""What the stories start from."""

import pytest

from tests.jobs.scripted import Stage, make_stage


@pytest.fixture
async def stage(database: None) -> Stage:
    """One external account of the scripted service, due now."""
    return await make_stage()
