"""The rig's planted bugs still fit the product: a patch that fits no more proves nothing."""

import shutil

import pytest

from tests.rig.checker import PROMISES
from tests.rig.lab import REPOSITORY
from tests.rig.plants import Plant, all_plants


@pytest.mark.skipif(shutil.which("patch") is None, reason="the program patch is not installed")
@pytest.mark.parametrize("plant", all_plants(), ids=lambda plant: plant.name)
def test_a_planted_bug_fits_the_tree_and_names_a_scenario_and_a_promise(plant: Plant) -> None:
    plant.apply(REPOSITORY, dry_run=True)
    assert plant.promise in PROMISES
    assert plant.test_id
