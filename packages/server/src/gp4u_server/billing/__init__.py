"""Running time turned into money: meters, postings, holds, receipts, earnings, top-ups.

States of a meter: open (its booking's placement is not over), ended, settled (final posting made, hold released).
Invariants (`invariants.py`): intervals of one job never overlap; what a meter has charged less what it has given back
equals what its postings and the ledger say; owner + platform = renter's net; a settled booking holds no money.
See `docs/design/ledger.md`.
"""
