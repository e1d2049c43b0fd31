"""The shim: one small process beside each job. It owns the job, and the job's life hangs on it."""
