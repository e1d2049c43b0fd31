"""The gateway process: holds the agents' WebSockets and their leases. `python -m gp4u_server.gateway`.

`hub` keeps the lease table and the loops around it, `handshake` proves who dials in, `connection` serves one agent,
`app` is the web side. At steady state a heartbeat costs no database work at all.
"""
