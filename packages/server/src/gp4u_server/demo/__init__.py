"""The demo: accounts, a fleet of simulated nodes, and chaos for everybody to play with.

Exists only with `gp4u up --demo`. The nodes are real agents that run real jobs; only their GPUs are invented, and
every screen says so. All their traffic goes through a fault proxy, so their links can be cut, slowed and torn.
"""
