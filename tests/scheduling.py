"""Which tests may run beside which: those of one neighbourhood share a worker, all others go wherever there is room."""

from xdist.scheduler import LoadScopeScheduling

NEIGHBOURHOODS = {
    "tests/stack/": "marketplace",  # they share one running marketplace …
    "tests/browser/": "marketplace",  # … and so do these
    "tests/integration/house/test_up.py": "up",  # whole stacks of their own: one at a time
    "tests/install/": "up",
    "tests/integration/agent/test_containers.py": "engines",
    "tests/integration/agent/test_runtime_contract.py": "engines",  # container engines are started once
    "tests/integration/checkpoints/test_objectstore.py": "s3",  # the S3 server has two ports that cannot be chosen
}


class ByNeighbourhood(LoadScopeScheduling):  # type: ignore[misc]
    """pytest-xdist's scheduler by scope; the scope of a test is its neighbourhood, or itself."""

    def _split_scope(self, nodeid: str) -> str:
        for prefix, neighbourhood in NEIGHBOURHOODS.items():
            if nodeid.startswith(prefix):
                return neighbourhood
        return nodeid
