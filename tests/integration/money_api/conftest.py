"""The fixtures of the API's own suite, and books that must add up after every test."""

from collections.abc import AsyncIterator

import pytest
from gp4u_server.foundation.platform import Platform
from gp4u_server.kit.db import Database

from tests.checks.ledger import assert_ledger_balances
from tests.integration.api.conftest import client, platform, settings

__all__ = ["client", "platform", "settings"]


@pytest.fixture(autouse=True)
async def books_add_up(platform: Platform) -> AsyncIterator[None]:
    yield
    await assert_ledger_balances(platform.get(Database))
