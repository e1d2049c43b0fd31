"""Hot standbys (`protection: hot`): a second node keeps a running job's newest checkpoint and its start at hand.

States: preparing → ready → … → ended (used, or why not). Invariants: a job has at most one standby that is not ended; what
a standby costs is metered only while it was proven ready. A standby reserves no GPU: while its node's GPUs are free it is
looked at every few seconds, and when somebody books them it moves on. See docs/design/standby.md.
"""
