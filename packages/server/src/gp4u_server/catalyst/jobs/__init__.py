"""Jobs and their placements.

A *job* is what a renter runs; a *placement* is that job on one node under one booking. Every placement has an epoch;
a job's epoch only grows, and only the placement whose epoch equals the job's may change anything:

    queued → starting → running → done | failed | stopped
                ↑          ↓ node lost, or the start failed
                └── recovering

Invariants: at most one placement of a job has not ended; its epoch is the job's; a final job has none; a report, a
claim, a checkpoint or a log chunk of another epoch changes nothing. Lock order: job, placement, node.
"""
