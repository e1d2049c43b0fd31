"""Who is alive. The gateway's half of the lease protocol (docs/design/leases.md).

`lease_table` and `authority` are pure cores; `service` writes only *changes* of liveness, guarded by the session
number that the node's newest connection got, so a gateway that lost a node changes nothing.
"""
