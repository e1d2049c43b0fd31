"""Planted bugs: patches that break one promise each, and the proof that the rig notices. See docs/design/rig.md.

    python -m tests.rig.plants [NAME …]

Each patch begins with what it breaks, the scenario that must notice, and the promise that its checker must name.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.rig.lab import REPOSITORY

FOLDER = Path(__file__).parent
COPIED = ("packages", "tests", "pyproject.toml", "docs/settings.md")


@dataclass(frozen=True)
class Plant:
    """One bug."""

    patch: Path
    says: str
    scenario: str
    promise: str

    @property
    def name(self) -> str:
        return self.patch.stem

    @property
    def test_id(self) -> str:
        """The scenario as pytest names it. Raises StopIteration when there is none."""
        function = self.scenario.split("[")[0]
        files = sorted((REPOSITORY / "tests" / "rig" / "scenarios").glob("*.py"))
        file = next(path for path in files if f"def {function}(" in path.read_text())
        return f"{file.relative_to(REPOSITORY)}::{self.scenario}"

    def copy_into(self, tree: Path) -> None:
        """A copy of the product with this bug in it. Raises CalledProcessError when the patch fits no more."""
        for name in COPIED:
            source, target = REPOSITORY / name, tree / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "web_dist", "node_modules")
                shutil.copytree(source, target, ignore=ignored)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        self.apply(tree)

    def apply(self, tree: Path, *, dry_run: bool = False) -> None:
        """Break the tree."""
        command = ["patch", "--strip=1", "--fuzz=3", "--no-backup-if-mismatch", "--silent", "--force"]
        subprocess.run(
            [
                *command,
                *(["--dry-run"] if dry_run else []),
                "--directory",
                str(tree),
                "--input",
                str(self.patch),
            ],
            check=True,
            capture_output=True,
        )


def all_plants() -> list[Plant]:
    """Every patch of this folder."""
    found = []
    for path in sorted(FOLDER.glob("*.patch")):
        head = dict(re.findall(r"^# (says|scenario|promise): (.*)$", path.read_text(), re.MULTILINE))
        found.append(Plant(path, head["says"], head["scenario"], head["promise"]))
    return found
