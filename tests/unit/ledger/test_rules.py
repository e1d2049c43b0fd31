"""The ledger's rules without a database."""

from datetime import UTC, datetime

import pytest
from gp4u_server.ledger.decisions import (
    GENESIS_HASH,
    AccountState,
    apply,
    check_legs,
    hash_inputs,
    minimum_of,
)
from gp4u_server.ledger.errors import InsufficientFunds, InvalidTransfer
from gp4u_server.ledger.types import Leg

AT = datetime(2026, 1, 1, tzinfo=UTC)
EMPTY = AccountState(0, 0, 0, GENESIS_HASH)
WORLD = AccountState(0, 0, None, GENESIS_HASH)


def entries_of(*legs: Leg, wallet: AccountState = EMPTY, key: str = "k") -> list[tuple[int, int, int]]:
    entries, _ = apply(
        {("world:a", "USD"): WORLD, ("wallet:b", "USD"): wallet},
        legs,
        transfer_id="trf_1",
        key=key,
        inputs_hash=b"",
        at=AT,
    )
    return [(entry.version, entry.amount_micros, entry.balance_after_micros) for entry in entries]


def test_entries_number_and_balance_each_account() -> None:
    assert entries_of(Leg("world:a", -5), Leg("wallet:b", 3), Leg("wallet:b", 2)) == [
        (1, -5, -5),
        (1, 3, 3),
        (2, 2, 5),
    ]


def test_only_the_balance_after_the_whole_transfer_is_held_against_the_minimum() -> None:
    assert entries_of(Leg("wallet:b", -3), Leg("world:a", -2), Leg("wallet:b", 5))[0] == (1, -3, -3)
    with pytest.raises(InsufficientFunds) as refused:
        entries_of(Leg("wallet:b", -3), Leg("world:a", 3), wallet=AccountState(2, 7, 0, b"x" * 32))
    assert refused.value.extra == {"account": "wallet:b", "balance_micros": 2, "missing_micros": 1}


def test_every_input_is_in_the_hash() -> None:
    legs = [Leg("world:a", -5), Leg("wallet:b", 5)]
    hashes = {
        hash_inputs("top_up", legs, "", {}),
        hash_inputs("refund", legs, "", {}),
        hash_inputs("top_up", legs, "x", {}),
        hash_inputs("top_up", legs, "", {"booking_id": "b"}),
        hash_inputs("top_up", legs[::-1], "", {}),
        hash_inputs("top_up", [Leg("world:a", -5, "EUR"), Leg("wallet:b", 5, "EUR")], "", {}),
        hash_inputs("top_up", [Leg("world:a", -6), Leg("wallet:b", 6)], "", {}),
    }
    assert len(hashes) == 7


def test_a_chain_depends_on_what_came_before() -> None:
    first, after = apply(
        {("world:a", "USD"): WORLD}, [Leg("world:a", -1)], transfer_id="t", key="k", inputs_hash=b"", at=AT
    )
    again, _ = apply(after, [Leg("world:a", -1)], transfer_id="t", key="k", inputs_hash=b"", at=AT)
    assert again[0].previous_hash == first[0].entry_hash != again[0].entry_hash


@pytest.mark.parametrize("account", ["wallet", "wallet:", ":usr", "", "Wallet:usr", "cash:usr"])
def test_unknown_accounts_are_refused(account: str) -> None:
    with pytest.raises(InvalidTransfer):
        minimum_of(account)


@pytest.mark.parametrize("amount", [1.0, True, "1", None, 2**62 + 1])
def test_h14_rounding_only_integers_are_amounts(amount: object) -> None:
    with pytest.raises(InvalidTransfer):
        check_legs([Leg("world:a", amount), Leg("wallet:b", 1)])  # type: ignore[arg-type]
