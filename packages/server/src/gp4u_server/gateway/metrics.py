"""What a gateway counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class GatewayMetrics:
    """Prometheus series of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.nodes = Gauge(
            "gp4u_gateway_nodes", "Nodes held, by state of their lease", ["state"], registry=self.registry
        )
        self.beats = Counter("gp4u_gateway_heartbeats", "Heartbeats received", registry=self.registry)
        self.renewals = Counter("gp4u_gateway_renewals", "Leases renewed", registry=self.registry)
        self.refused = Counter("gp4u_gateway_refused", "Refusals, by code", ["code"], registry=self.registry)
        self.changes = Counter(
            "gp4u_gateway_liveness_changes",
            "Liveness changes written, by state",
            ["state"],
            registry=self.registry,
        )
        self.dropped = Counter(
            "gp4u_gateway_dropped",
            "Frames dropped because a queue was full",
            ["kind"],
            registry=self.registry,
        )
        self.write_failures = Counter(
            "gp4u_gateway_write_failures",
            "Database writes that failed and are tried again",
            registry=self.registry,
        )
        self.given_up = Counter(
            "gp4u_gateway_changes_given_up",
            "Liveness changes that could not be written; rebuilt later from the gateway's whole state",
            registry=self.registry,
        )
        self.rebuilt = Counter(
            "gp4u_gateway_changes_rebuilt",
            "Liveness changes that the database lacked and that were written again",
            registry=self.registry,
        )
        self.rows_polled = Counter(
            "gp4u_gateway_rows_polled",
            "Rows of nodes read by the poll: because they changed, or in the round over all",
            ["why"],
            registry=self.registry,
        )
        self.opened = Counter(
            "gp4u_gateway_sessions_opened",
            "Sessions begun: in one transaction with others, or alone",
            ["how"],
            registry=self.registry,
        )
        self.cut_off = Counter(
            "gp4u_gateway_cut_off",
            "Times that the agents were sent away because the database was out of reach",
            registry=self.registry,
        )
        self.held_back = Gauge(
            "gp4u_gateway_losses_held_back", "1 while a mass loss is held back", registry=self.registry
        )
        self.longer_leases = Gauge(
            "gp4u_gateway_longer_leases",
            "Nodes whose link needs more than the shortest TTL",
            registry=self.registry,
        )
        self.lease_ttl_max = Gauge(
            "gp4u_gateway_lease_ttl_seconds_max", "Longest TTL granted to a node now", registry=self.registry
        )
        self.tick_lag = Histogram(
            "gp4u_gateway_tick_lag_seconds",
            "How late the lease table's tick came",
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self.registry,
        )
