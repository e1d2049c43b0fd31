"""Control loops that bring every job to its next placement, or to its end.

They stand beside routing and know it only as a port: what is due is asked of `catalyst.jobs`, where it goes is asked of
the placer. Several controllers may run; the job's row lock lets one of them act. `handlers.py` notes what frees capacity,
`CapacityLoop` wakes who waits for it.
"""
