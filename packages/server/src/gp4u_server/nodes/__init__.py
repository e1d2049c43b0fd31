"""Nodes: enrolled machines of owners, their devices, their liveness and their record of reliability.

States of trust: `pending` → `verified` → `removed`. States of liveness: `offline` → `online` ⇄ `suspect` → `lost`.

Invariants: a device UUID belongs to at most one node that is not removed; node names are unique among nodes that are
not removed; an enrolment token joins at most once; `session_no` only grows, and only the newest session writes
liveness. Lock order, for everybody who locks these rows: jobs → nodes → offers → devices.
"""
