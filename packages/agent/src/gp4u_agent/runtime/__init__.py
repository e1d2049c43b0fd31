"""Where jobs run: one port, and an adapter for each way of isolating a job.

Everything in here runs inside the shim as well, one small process a job, so it imports the standard library only.
"""
