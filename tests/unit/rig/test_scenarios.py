"""Every hazard that is to be proven under real faults has a scenario that carries its number, and docs name what there is."""

import re

import pytest

from tests.rig.lab import REPOSITORY
from tests.rig.plants import Plant, all_plants

PROVEN_BY_REAL_FAULTS = (2, 3, 4, 5, 6, 16, 17, 18, 19, 20, 23, 24, 25, 27, 28)


@pytest.mark.parametrize("hazard", PROVEN_BY_REAL_FAULTS)
def test_a_hazard_has_a_scenario_of_its_number_and_a_row_in_the_docs(hazard: int) -> None:
    scenarios = "\n".join(
        path.read_text() for path in (REPOSITORY / "tests" / "rig" / "scenarios").glob("*.py")
    )
    assert re.search(rf"^def test_(h\d+_)*h{hazard}_", scenarios, re.MULTILINE)
    real_faults = (REPOSITORY / "docs" / "hazards.md").read_text().split("## Under real faults")[1]
    assert re.search(rf"^\| [^|]*\bH{hazard}\b[^|]*\|", real_faults, re.MULTILINE)


@pytest.mark.parametrize("plant", all_plants(), ids=lambda plant: plant.name)
def test_the_docs_list_a_planted_bug(plant: Plant) -> None:
    row = f"| `{plant.name}` | {plant.says} | `{plant.scenario}` | {plant.promise} |"
    assert row in (REPOSITORY / "docs" / "design" / "rig.md").read_text()
