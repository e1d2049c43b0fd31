"""Readings for the platform: how this node and its GPUs feel, every few seconds, beside the heartbeats.

One port (`port.DeviceSampler`) with two adapters: NVIDIA's library (`nvml`, with the kernel's log for XIDs) and the
simulated fleet (`simulated`). `feed` takes samples in a thread of its own and keeps a bounded number until they can be sent:
a driver that hangs delays readings, and neither a heartbeat nor a lease.
"""
