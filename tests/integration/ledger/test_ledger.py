"""The ledger on a real PostgreSQL: what it promises, and that the database refuses what would break it."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from click.testing import CliRunner
from gp4u_server.kit.db import Database
from gp4u_server.ledger.command import ledger as ledger_command
from gp4u_server.ledger.errors import IdempotencyMismatch, InsufficientFunds, InvalidTransfer
from gp4u_server.ledger.service import LedgerService
from gp4u_server.ledger.types import Leg, TransferResult
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from tests.checks.ledger import assert_ledger_balances
from tests.checks.scale import scaled

LEDGER = LedgerService()
CLIENTS = 20  # as many connections as the pool keeps
WORLD, RENTER, OWNER = "world:sandbox", "wallet:usr_renter", "earnings:usr_owner"


@pytest.fixture
async def books(database: Database) -> AsyncIterator[Database]:
    yield database
    await assert_ledger_balances(database)


async def move(
    database: Database, key: str, *legs: tuple[str, int], kind: str = "top_up", currency: str = "USD"
) -> TransferResult:
    async with database.transaction() as session:
        return await LEDGER.transfer(
            session,
            key=key,
            kind=kind,
            legs=[Leg(account, amount, currency) for account, amount in legs],
            description=f"test — {key}",
            refs={"test": key},
        )


async def balance(database: Database, account: str) -> int:
    async with database.transaction() as session:
        return (await LEDGER.balances(session, [account]))[account]


async def test_a_transfer_moves_money_once(books: Database) -> None:
    first = await move(books, "k1", (WORLD, -500), (RENTER, 500))
    again = await move(books, "k1", (WORLD, -500), (RENTER, 500))
    assert first.created
    assert not again.created
    assert again.transfer_id == first.transfer_id
    assert again.balances_micros == {WORLD: -500, RENTER: 500}
    assert await balance(books, RENTER) == 500


async def test_a_key_with_other_inputs_is_an_error(books: Database) -> None:
    await move(books, "k1", (WORLD, -500), (RENTER, 500))
    with pytest.raises(IdempotencyMismatch):
        await move(books, "k1", (WORLD, -501), (RENTER, 501))
    with pytest.raises(IdempotencyMismatch):
        await move(books, "k1", (WORLD, -500), (RENTER, 500), kind="refund")
    assert await balance(books, RENTER) == 500


@pytest.mark.parametrize(
    "legs",
    [
        [],
        [(RENTER, 5)],
        [(WORLD, -5), (RENTER, 6)],
        [(WORLD, -5), (RENTER, 5), (OWNER, 0)],
        [(WORLD, -5), ("pocket:usr_1", 5)],
        [(WORLD, -5), ("wallet:", 5)],
        [(WORLD, -(2**63)), (RENTER, 2**63)],
    ],
)
async def test_legs_that_make_no_transfer_are_refused(books: Database, legs: list[tuple[str, int]]) -> None:
    with pytest.raises(InvalidTransfer):
        await move(books, "k1", *legs)


async def test_currencies_balance_each_on_its_own(books: Database) -> None:
    async with books.transaction() as session:
        with pytest.raises(InvalidTransfer):
            await LEDGER.transfer(
                session,
                key="k1",
                kind="top_up",
                legs=[Leg(WORLD, -5, "USD"), Leg(RENTER, 5, "EUR")],
                description="",
            )
    await move(books, "k2", (WORLD, -5), (RENTER, 5), currency="EUR")
    assert await balance(books, RENTER) == 0


async def test_a_refused_transfer_leaves_nothing_and_the_transaction_goes_on(books: Database) -> None:
    await move(books, "k1", (WORLD, -500), (RENTER, 500))
    async with books.transaction() as session:
        with pytest.raises(InsufficientFunds) as refused:
            await LEDGER.transfer(
                session, key="k2", kind="hold", legs=[Leg(RENTER, -501), Leg(OWNER, 501)], description=""
            )
        await LEDGER.transfer(
            session, key="k2", kind="hold", legs=[Leg(RENTER, -500), Leg(OWNER, 500)], description=""
        )
    assert refused.value.extra["missing_micros"] == 1
    assert await balance(books, OWNER) == 500


async def test_entries_are_listed_newest_first_and_paged_by_their_number(books: Database) -> None:
    for number in range(5):
        await move(books, f"k{number}", (WORLD, -1 - number), (RENTER, 1 + number))
    async with books.transaction() as session:
        newest = await LEDGER.entries(session, RENTER, limit=2)
        older = await LEDGER.entries(session, RENTER, before_version=newest[-1].version, limit=2)
    assert [entry.amount_micros for entry in newest + older] == [5, 4, 3, 2]
    assert newest[0].balance_after_micros == 15
    assert newest[0].refs == {"test": "k4"}


async def test_h12_negative_balance_64_spenders_race_for_a_wallet_worth_1(books: Database) -> None:
    await move(books, "k0", (WORLD, -1), (RENTER, 1))

    async def spend(number: int) -> bool:
        try:
            await move(books, f"spend{number}", (RENTER, -1), (OWNER, 1), kind="charge")
        except InsufficientFunds:
            return False
        return True

    outcomes = await asyncio.gather(*(spend(number) for number in range(64)))
    assert sum(outcomes) == 1
    assert await balance(books, RENTER) == 0


async def test_h12_negative_balance_is_refused_by_the_database_itself(books: Database) -> None:
    await move(books, "k0", (WORLD, -5), (RENTER, 5))
    with pytest.raises(DBAPIError, match="ck_ledger_accounts_minimum"):
        async with books.transaction() as session:
            await session.execute(
                text("UPDATE ledger_accounts SET balance_micros = -1 WHERE name = :name"), {"name": RENTER}
            )


async def test_32_clients_with_one_key_move_money_once(books: Database) -> None:
    results = await asyncio.gather(*(move(books, "same", (WORLD, -7), (RENTER, 7)) for _ in range(32)))
    assert sum(result.created for result in results) == 1
    assert len({result.transfer_id for result in results}) == 1
    assert await balance(books, RENTER) == 7


async def test_h11_out_of_balance_clients_at_random_leave_books_that_add_up(books: Database) -> None:
    """Among few accounts, so that they meet; some keys twice, some transfers that nobody can afford."""
    accounts = [f"wallet:usr_{number}" for number in range(6)] + [
        f"earnings:usr_{number}" for number in range(3)
    ]
    await move(books, "seed", (WORLD, -9_000), *((account, 1_000) for account in accounts))
    outcomes: Counter[str] = Counter()

    async def client(number: int) -> None:
        rng = random.Random(number)
        for turn in range(scaled(300) // CLIENTS):
            key = f"{rng.randrange(3)}:{number}:{turn // 2}"
            paying, *others = rng.sample(accounts, rng.randrange(2, 5))
            amounts = [rng.randrange(1, 400) for _ in others]
            legs = [(paying, -sum(amounts)), *zip(others, amounts, strict=True)]
            try:
                outcomes["moved" if (await move(books, key, *legs)).created else "repeated"] += 1
            except (InsufficientFunds, IdempotencyMismatch) as refused:
                outcomes[type(refused).__name__] += 1
            except (
                OperationalError
            ):  # waited too long for an account: nothing happened, which is an answer too
                outcomes["gave up"] += 1

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    assert min(outcomes["moved"], outcomes["InsufficientFunds"], outcomes["IdempotencyMismatch"]) > 10, (
        outcomes
    )
    assert sum([await balance(books, account) for account in accounts]) == 9_000


async def test_transfers_in_opposite_directions_do_not_deadlock(books: Database) -> None:
    await move(books, "seed", (WORLD, -2000), (RENTER, 1000), (OWNER, 1000))
    await asyncio.gather(
        *(
            move(books, f"t{n}", *([(RENTER, -1), (OWNER, 1)] if n % 2 else [(OWNER, -1), (RENTER, 1)]))
            for n in range(60)
        )
    )
    assert await balance(books, RENTER) + await balance(books, OWNER) == 2000


CHANGES = [
    "UPDATE ledger_entries SET amount_micros = amount_micros + 1",
    "DELETE FROM ledger_entries",
    "TRUNCATE ledger_entries CASCADE",
    "UPDATE ledger_transfers SET description = 'other'",
    "DELETE FROM ledger_transfers",
    "TRUNCATE ledger_transfers CASCADE",
    "DELETE FROM ledger_accounts",
    "TRUNCATE ledger_accounts CASCADE",
    "UPDATE ledger_accounts SET balance_micros = balance_micros + 1 WHERE name LIKE 'wallet:%'",
    "UPDATE ledger_accounts SET version = version + 1",
]


async def test_h11_out_of_balance_changes_are_refused_by_the_database(books: Database) -> None:
    await move(books, "k1", (WORLD, -500), (RENTER, 500))
    for change in CHANGES:
        with pytest.raises(DBAPIError):
            await execute(books, change)


async def execute(database: Database, statement: str) -> None:
    async with database.transaction() as session:
        await session.execute(text(statement))


@pytest.mark.parametrize(
    "amounts", [(-5, 6), (-5, 4)], ids=["more arrives than leaves", "less arrives than leaves"]
)
async def test_h11_an_unbalanced_transfer_written_past_the_writer_is_refused(
    books: Database, amounts: tuple[int, int]
) -> None:
    with pytest.raises(DBAPIError, match="not balanced"):
        await write_past_the_writer(books, {WORLD: amounts[0], RENTER: amounts[1]})


async def write_past_the_writer(database: Database, amounts: dict[str, int]) -> None:
    async with database.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO ledger_transfers (id, key, kind, description, refs, inputs_hash, created_at) "
                "VALUES ('t', 't', 'x', '', '{}', '', now())"
            )
        )
        for leg, (account, amount) in enumerate(amounts.items()):
            values = {"account": account, "leg": leg, "amount": amount}
            await session.execute(
                text(
                    "INSERT INTO ledger_accounts (name, currency, balance_micros, version) "
                    "VALUES (:account, 'USD', :amount, 1)"
                ),
                values,
            )
            await session.execute(
                text(
                    "INSERT INTO ledger_entries VALUES "
                    "(:account, 'USD', 1, 't', :leg, :amount, :amount, '', '', now())"
                ),
                values,
            )


COLUMNS = {
    "ledger_entries": {
        "version": "version + 1",
        "leg": "leg + 7",
        "amount_micros": "amount_micros # 1",
        "balance_after_micros": "balance_after_micros # 1",
        "previous_hash": "set_byte(previous_hash, 5, get_byte(previous_hash, 5) # 1)",
        "entry_hash": "set_byte(entry_hash, 5, get_byte(entry_hash, 5) # 1)",
        "created_at": "created_at + interval '1 microsecond'",
        "currency": "'EUR'",
        "account": "account || 'x'",
        "transfer_id": "transfer_id || 'x'",
    },
    "ledger_transfers": {
        "id": "id || 'x'",
        "key": "key || 'x'",
        "kind": "kind || 'x'",
        "description": "description || 'x'",
        "refs": 'refs || \'{"x": "y"}\'',
        "inputs_hash": "set_byte(inputs_hash, 5, get_byte(inputs_hash, 5) # 1)",
        "created_at": "created_at + interval '1 microsecond'",
    },
    "ledger_accounts": {
        "balance_micros": "balance_micros # 1",
        "version": "version + 1",
        "minimum_micros": "-5",
        "name": "name || 'x'",
    },
}


async def test_h11_out_of_balance_verify_names_the_row_of_a_flipped_byte(books: Database) -> None:
    for number in range(1, 5):
        transfer = await move(books, f"k{number}", (WORLD, -100 * number), (RENTER, 100 * number))
    rows = {
        "ledger_transfers": (transfer.transfer_id, f"id = '{transfer.transfer_id}'"),
        "ledger_entries": (f"{RENTER} USD", f"account = '{RENTER}' AND version = 4"),
        "ledger_accounts": (RENTER, f"name = '{RENTER}'"),
    }
    for table, columns in COLUMNS.items():
        key, where = rows[table]
        for column, value in columns.items():
            async with books.sessions() as session:
                # As somebody with a superuser's hand in the database would; rolled back at the end of the block.
                await session.execute(text("SET LOCAL session_replication_role = replica"))
                await session.execute(text(f"UPDATE {table} SET {column} = {value} WHERE {where}"))
                problems = await LEDGER.verify(session)
            named = [problem for problem in problems if key in problem.row or key in problem.detail]
            assert named, (table, column, problems)


async def test_verify_command_exits_1_and_names_the_row(database: Database, database_url: str) -> None:
    await move(database, "k1", (WORLD, -500), (RENTER, 500))

    def run(*args: str) -> tuple[int, str]:
        result = CliRunner().invoke(ledger_command, ["verify", "--database-url", database_url, *args])
        return result.exit_code, result.output

    code, output = await asyncio.to_thread(run)
    assert code == 0
    assert "1 transfers, 2 entries, 2 accounts: everything adds up" in output
    async with database.transaction() as session:
        await session.execute(text("SET LOCAL session_replication_role = replica"))
        await session.execute(text("UPDATE ledger_transfers SET description = 'bribe'"))
    code, output = await asyncio.to_thread(run, "--json")
    assert code == 1
    problems = json.loads(output)["problems"]
    assert [problem["check"] for problem in problems] == ["inputs_hash"]
    assert problems[0]["row"].startswith("ledger_transfers trf_")
