"""Billing on a fresh database; the books must add up after every test."""

from collections.abc import AsyncIterator

import pytest
from gp4u_server.billing.events import BudgetReached, ChargePosted, FundsExhausted
from gp4u_server.kit.db import Database

from tests.checks.billing import Books, books_on
from tests.checks.ledger import assert_ledger_balances


@pytest.fixture
async def books(database: Database) -> AsyncIterator[Books]:
    yield books_on(database, ChargePosted, FundsExhausted, BudgetReached)
    await assert_ledger_balances(database)
