"""What the domain's tests start from."""

import pytest

from tests.domain.source import Source, make_source


@pytest.fixture
async def source(database: None) -> Source:
    """One external account with one import, in an account of its own."""
    return await make_source()
