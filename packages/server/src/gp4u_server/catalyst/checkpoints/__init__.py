"""Checkpoints and job uploads, as the platform keeps them.

A checkpoint exists when its row is committed, never before: every object it names was stored first (packs, then the manifest, then
the row), and the row is written in the transaction that proves the epoch. Restore points are chosen by (epoch, seq)
from these rows, never from a listing of the store. An upload is recorded before its first byte. What no checkpoint needs is
collected (`collection`): decided in a row first, under the job's lock, and never taken back.
The format is `gp4u_protocol.checkpoint`; docs/design/checkpoints.md has the reasons.
"""
