"""Every test here runs against one marketplace, in one worker, and leaves a ledger that verifies."""

from collections.abc import Iterator

import pytest

from tests.stack.marketplace import Marketplace


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/stack/" in str(item.path):
            item.add_marker(pytest.mark.stack)
            item.add_marker(pytest.mark.xdist_group("stack"))


@pytest.fixture(autouse=True)
def _whole_afterwards(marketplace: Marketplace) -> Iterator[None]:
    with marketplace.whole_fleet():
        yield
    marketplace.assert_ledger_verifies()
