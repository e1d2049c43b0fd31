"""Which readings are kept, in which position of a row's arrays, and in what unit.

Rows hold arrays, not columns: a new reading is appended here and needs no migration; older rows are shorter, and what
lies past their end reads as NULL. So positions are for ever: append, never insert, never reuse.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One reading. `unit` is for people; a flag is 0 or 1, so its mean is the share of the time that it was set."""

    name: str
    unit: str
    what: str


NODE_METRICS = (
    Metric("load_1m", "processes", "runnable processes, averaged over a minute"),
    Metric("memory_used_mb", "MiB", "main memory in use"),
    Metric("disk_free_mb", "MiB", "free disk where jobs live"),
    Metric("disk_read_mb_s", "MiB/s", "read from all disks"),
    Metric("disk_write_mb_s", "MiB/s", "written to all disks"),
    Metric("disk_latency_ms", "ms", "mean time of one read or write"),
    Metric("rtt_ms", "ms", "median time from a heartbeat to its answer"),
    Metric("jitter_ms", "ms", "mean difference between the times of successive heartbeats"),
    Metric("loss_percent", "%", "heartbeats that were not answered within 2 s"),
    Metric("clock_offset_ms", "ms", "agent's clock ahead of the gateway's; information only"),
)

DEVICE_METRICS = (
    Metric("utilisation_percent", "%", "time in which a kernel ran"),
    Metric("memory_used_mb", "MiB", "GPU memory in use"),
    Metric("temperature_c", "°C", "temperature of the chip"),
    Metric("power_w", "W", "power drawn"),
    Metric("sm_clock_mhz", "MHz", "clock of the multiprocessors"),
    Metric("memory_clock_mhz", "MHz", "clock of the memory"),
    Metric("throttle_thermal", "flag", "slowed down because it is too hot"),
    Metric("throttle_power", "flag", "slowed down by its power limit"),
    Metric("throttle_hardware", "flag", "slowed down by its hardware: power brake or hardware slowdown"),
    Metric("ecc_corrected", "errors", "corrected memory errors since the driver was loaded"),
    Metric("ecc_uncorrected", "errors", "uncorrected memory errors since the driver was loaded"),
    Metric("retired_pages", "pages", "memory pages taken out of use, ever"),
    Metric("row_remaps", "rows", "memory rows replaced after uncorrected errors, ever"),
    Metric("row_remap_failure", "flag", "a memory row could not be replaced"),
    Metric("pcie_gen", "generation", "generation of the PCIe link now"),
    Metric("pcie_width", "lanes", "width of the PCIe link now"),
    Metric("pcie_replays", "replays", "PCIe packets sent again, since the driver was loaded"),
    Metric("xids", "events", "XID events since the sample before"),
)

WIDTH = max(len(NODE_METRICS), len(DEVICE_METRICS))
OF_NODE = ""
"""What stands for the device in rows about the node itself."""


def metrics_of(device_uuid: str) -> tuple[Metric, ...]:
    """The readings that a row of this device (or of the node itself) has, in their positions."""
    return NODE_METRICS if device_uuid == OF_NODE else DEVICE_METRICS
