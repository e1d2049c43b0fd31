"""Bookings: a renter has these GPUs, from now until they are given back, at this rate, for one placement of a job.

States: held (devices and money set aside, the job not yet running) → active → ended. Invariants: no GPU is in two live
bookings at an instant (the database refuses it); an ended booking holds no device and, settled, no money.
"""
