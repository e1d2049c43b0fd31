"""Bookings wired as in production, on a small market; the books must add up after every test."""

from collections.abc import AsyncIterator

import pytest
from gp4u_server.kit.db import Database

from tests.checks.ledger import assert_ledger_balances
from tests.integration.bookings.world import BookingWorld


@pytest.fixture
async def world(database: Database) -> AsyncIterator[BookingWorld]:
    made = BookingWorld(database)
    yield made
    await assert_ledger_balances(database)
    await made.check_invariants()
