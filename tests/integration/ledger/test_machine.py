"""A Hypothesis machine: random transfers against a model in plain Python, then the auditor."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator

import pytest
from gp4u_server.kit.db import Database, connect
from gp4u_server.ledger.errors import IdempotencyMismatch, InsufficientFunds
from gp4u_server.ledger.service import LedgerService
from gp4u_server.ledger.types import ACCOUNT_MINIMUMS, Leg
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

ACCOUNTS = ["world:a", "wallet:r1", "wallet:r2", "hold:b1", "earnings:o1", "platform:fees"]


class Machine(RuleBasedStateMachine):
    """Each example goes on with the books of the one before: the model is carried along."""

    runner: asyncio.Runner
    database: Database
    model: dict[str, int]
    done: dict[str, list[Leg]]
    ledger = LedgerService()

    @rule(
        key=st.integers(0, 400),
        amounts=st.dictionaries(st.sampled_from(ACCOUNTS), st.integers(-300, 300), min_size=2, max_size=5),
        closing=st.sampled_from(ACCOUNTS),
        retries=st.integers(1, 3),
    )
    def transfer(self, key: int, amounts: dict[str, int], closing: str, retries: int) -> None:
        legs = [Leg(account, amount) for account, amount in amounts.items() if amount]
        rest = -sum(leg.amount_micros for leg in legs)
        if rest:
            legs.append(Leg(closing, rest))
        if len(legs) < 2:
            return
        for _ in range(retries):
            self.expect(f"key{key}", legs)

    def expect(self, key: str, legs: list[Leg]) -> None:
        after = dict(self.model)
        for leg in legs:
            after[leg.account] = after.get(leg.account, 0) + leg.amount_micros
        broke = any(
            ACCOUNT_MINIMUMS[account.partition(":")[0]] == 0 and after[account] < 0 for account in after
        )
        if key in self.done and self.done[key] != legs:
            with pytest.raises(IdempotencyMismatch):
                self.runner.run(self.move(key, legs))
        elif key in self.done:
            assert not self.runner.run(self.move(key, legs))
        elif broke:
            with pytest.raises(InsufficientFunds):
                self.runner.run(self.move(key, legs))
        else:
            assert self.runner.run(self.move(key, legs))
            self.model.update(after)
            self.done[key] = legs

    async def move(self, key: str, legs: list[Leg]) -> bool:
        async with self.database.transaction() as session:
            return (
                await self.ledger.transfer(session, key=key, kind="test", legs=legs, description="", refs={})
            ).created

    @invariant()
    def balances_are_the_models(self) -> None:
        assert self.runner.run(self.read()) == {account: self.model.get(account, 0) for account in ACCOUNTS}

    async def read(self) -> dict[str, int]:
        async with self.database.transaction() as session:
            return await self.ledger.balances(session, ACCOUNTS)

    def teardown(self) -> None:
        assert self.runner.run(self.audit()) == []

    async def audit(self) -> list[object]:
        async with self.database.transaction() as session:
            return list(await self.ledger.verify(session))


@pytest.fixture
def own_loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_h11_out_of_balance_machine(database_url: str, own_loop: asyncio.Runner) -> None:
    Machine.runner = own_loop
    Machine.database = connect(database_url, pool_size=2)
    Machine.model, Machine.done = defaultdict(int), {}
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=25,
                stateful_step_count=15,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        own_loop.run(Machine.database.close())
