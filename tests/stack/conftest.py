"""Every test here runs against one marketplace, in one worker, and leaves a ledger that verifies."""

from collections.abc import Iterator

import pytest

from tests.stack.marketplace import Marketplace


@pytest.fixture(autouse=True)
def _whole_afterwards(marketplace: Marketplace) -> Iterator[None]:
    with marketplace.whole_fleet():
        yield
    marketplace.assert_ledger_verifies()
