"""The market: offers of nodes' GPUs, search, and the catalogue of GPU models.

An offer is `listed`, `paused` or `withdrawn`; a node has at most one that is not withdrawn. What search returns can be
booked now: listed, on a node that is online and verified, with GPUs free. One denormalised row holds all that
search needs and is changed in the transaction that changes the fact: taking devices, liveness, hardware, terms.

Invariant: `gpus_free` of an offer that is not withdrawn equals the node's free devices of the offered model.
"""
