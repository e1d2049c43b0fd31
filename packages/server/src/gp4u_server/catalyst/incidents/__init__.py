"""Incidents: every lost node, lost run, failed job and failed start, and what each is attributed to.

    opened (what is known at once) → settled (evidence, or nothing came of it by the time limit) → ruled on (an admin)

Invariants: an incident touches a score only when at least two independent kinds of evidence agree on the host or its network
(`decisions.attribute`), or an admin ruled so; it is counted once however many jobs it hit; what is put down to the
platform, the renter's job or nobody touches nothing and is shown all the same. An incident that stands is changed only by
whoever holds the row of its node. Payouts follow what bookings and billing do with a lost run, whoever's fault it was.
"""
