"""The controller process: control loops, each its own task. `python -m gp4u_server.controller`.

A loop is anything with `name`, `interval_s` and `async run_once() -> int`; one with `channels` is also woken by these
PostgreSQL notifications. Loops keep no truth in memory, so any number of controllers may run.
"""
