"""How nodes and their GPUs feel: readings kept at 10 s, 1 min and 1 h, device events, and what follows from them.

Gateways write readings in batches (`storing`); a control loop makes partitions ahead, sums up and drops what is past
its retention (`control`); whoever needs to know what a node felt at an instant asks `TelemetryService`. A sign of a
failing GPU (`signs`) becomes a device event, the event drains the node, and `DeviceFaulted` tells the others.
docs/design/telemetry.md has fields, units, formulas, thresholds and their sources.

Invariant: agents' clocks decide nothing. Every instant stored is the gateway's own, less an age that is bounded.
"""
