"""A stage for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.catalyst_world import Stage, stage_on


@pytest.fixture
async def stage(database_url: str, valkey_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """A platform without gateway or controller yet."""
    async with stage_on(database_url, valkey_url, tmp_path) as made:
        yield made
