"""The node agent: enrols a machine, runs its placements, checkpoints them, proves its leases."""

__version__ = "0.1.0"
