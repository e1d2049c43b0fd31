"""One marketplace for all scenarios; a history and a verdict for each of them."""

import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.rig import lab as lab_module
from tests.rig.checker import covered, violations
from tests.rig.evidence import gather
from tests.rig.lab import PREFIX, REPOSITORY
from tests.rig.world import World

PASSED = pytest.StashKey[bool]()
HISTORIES = Path(tempfile.gettempdir()) / "gp4u-histories"


def pytest_addoption(parser: pytest.Parser) -> None:
    """What `make rig ARGS=…` may say."""
    group = parser.getgroup("rig")
    group.addoption("--seed", type=int, default=1, help="of the nemesis and of lossy links")
    group.addoption("--seconds", type=float, default=75.0, help="how long the nemesis rages")
    group.addoption("--tree", type=Path, default=REPOSITORY, help="source tree whose product code runs")
    group.addoption("--histories", type=Path, default=HISTORIES, help="folder for the recorded histories")


@pytest.fixture(scope="session")
def lab_reason() -> str | None:
    """Why there can be no lab here."""
    return lab_module.why_not()


@pytest.fixture(scope="session")
def marketplace_in_the_lab(request: pytest.FixtureRequest, lab_reason: str | None) -> Iterator[World]:
    """The marketplace that the scenarios share."""
    with plain_marketplace(request, lab_reason) as world:
        yield world


@contextmanager
def plain_marketplace(request: pytest.FixtureRequest, lab_reason: str | None) -> Iterator[World]:
    """Platform on a, two machines each on b and c."""
    if lab_reason is not None:
        pytest.skip(f"no fault rig here: {lab_reason}")
    with World(
        tree=request.config.getoption("--tree"),
        seed=request.config.getoption("--seed"),
        histories=request.config.getoption("--histories"),
        settings={"GP4U_BILLING_PERIOD_S": "3", "GP4U_CHECKPOINT_COLLECT_EVERY_S": "2"},
    ) as world:
        yield world


@pytest.fixture
def rig(marketplace_in_the_lab: World, request: pytest.FixtureRequest) -> Iterator[World]:
    """The shared marketplace, whole, with a fresh history that is judged at the end of the scenario."""
    yield from judged(marketplace_in_the_lab, request)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the fixture know how the scenario went: one that broke off is not waited for."""
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


def judged(world: World, request: pytest.FixtureRequest) -> Iterator[World]:
    """Begin a history, let the scenario run, make everything whole, gather the evidence, judge."""
    history = world.begin(request.node.name)
    world.make_whole()
    yield world
    try:
        world.make_whole()
        if not request.node.stash.get(PASSED, False):
            for job in world.renter.jobs:
                if not job.has_ended:
                    world.renter.stop(job)
        world.wait_for_ends()
        gather(world.cluster, world.renter)
    finally:
        print(f"\nhistory: {history.path}\n{covered(history.snapshot())}")
    broken = violations(history.snapshot())
    assert not broken, "\n".join([f"{history.path}:", *map(str, broken)])


assert PREFIX not in HISTORIES.name, "histories outlive the rig"
