"""Double entry: accounts, transfers, entries. Append-only, balanced, idempotent; the database refuses the rest.

Invariants (`invariants.py`, and `verify.py` with the hashes): legs of a transfer sum to 0 per currency; a balance is
the sum of its entries; entry numbers have no gap; no balance is below its account's minimum. See
`docs/design/ledger.md`.
"""
