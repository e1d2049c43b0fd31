"""The town that every suite here walks through; its books must add up after every test."""

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
import structlog
from gp4u_server.settings import Settings

from tests.checks.ledger import assert_ledger_balances
from tests.integration.contract.town import Town, build_town
from tests.integration.routing.conftest import (
    Marketplace,
    client,
    marketplace,
    platform,
    real_settings,
)

__all__ = ["client", "marketplace", "platform", "real_settings"]

NO_LIMIT = 1_000_000


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of refused requests: their log lines would cost more than they do."""
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
def settings(real_settings: Settings) -> Settings:
    """Settings of a demo (the nodes are simulated) that lets one address ask a great deal."""
    limits = (
        "requests_per_minute",
        "sign_ins_per_minute",
        "failed_sign_ins_per_minute",
        "registrations_per_minute",
    )
    return real_settings.model_copy(update={"demo": True, **dict.fromkeys(limits, NO_LIMIT)})


@pytest.fixture
async def town(marketplace: Marketplace, client: httpx2.AsyncClient) -> AsyncIterator[Town]:
    made = await build_town(marketplace, client)
    yield made
    await assert_ledger_balances(made.database)
