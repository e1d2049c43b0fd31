"""Run each planted bug against the scenario that must notice it. Exit code 1 when one goes unnoticed."""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.rig.lab import REPOSITORY, why_not
from tests.rig.plants import Plant, all_plants

TIMEOUT_S = 600


def caught(plant: Plant) -> tuple[bool, str]:
    """Whether the checker names the broken promise, and what it said."""
    with tempfile.TemporaryDirectory(prefix="gp4u-planted-") as folder:
        tree = Path(folder)
        plant.copy_into(tree)
        try:
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "pytest",
                    plant.test_id,
                    *(
                        "-o",
                        "python_files=hazard_*.py nemesis_*.py",
                        "-p",
                        "no:cacheprovider",
                        "-q",
                        "--tb=short",
                    ),
                    *("--tree", str(tree), "--histories", str(tree / "histories")),
                ],
                cwd=REPOSITORY,
                capture_output=True,
                text=True,
                check=False,
                timeout=TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            return False, "the scenario did not come to its end"
    said = [line for line in done.stdout.splitlines() if f"{plant.promise}: " in line]
    return bool(said), said[0].strip() if said else "\n".join(done.stdout.splitlines()[-15:])


def main() -> None:
    if reason := why_not():
        sys.exit(f"no fault rig here: {reason}")
    wanted = sys.argv[1:]
    plants = [plant for plant in all_plants() if not wanted or plant.name in wanted]
    missed = 0
    for plant in plants:
        found, said = caught(plant)
        missed += not found
        print(f"{'caught' if found else 'MISSED'}  {plant.name}: {plant.says}\n        {said}", flush=True)
    print(f"{len(plants) - missed} of {len(plants)} planted bugs were caught")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
