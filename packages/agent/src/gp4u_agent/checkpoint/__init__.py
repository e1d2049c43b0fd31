"""Checkpoints on a node: snapshot what a job has finished, restore what was saved. See docs/design/checkpoints.md."""
