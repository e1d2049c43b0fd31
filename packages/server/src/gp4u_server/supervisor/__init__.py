"""`gp4u up`: the whole marketplace on one machine, under one supervisor.

Promises: what it starts never outlives it, not even after `kill -9` (the kernel tells direct children, and a pipe
that closes with us, the *lifeline*, tells those that are detached on purpose); what dies is started again; one data
folder holds all state; a second start on the same folder is refused; every refusal says what to do.
"""
