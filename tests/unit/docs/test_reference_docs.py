"""The pages made from the code say what the code says."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_pages_made_from_the_code_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "reference_docs.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_links_between_the_pages_lead_somewhere() -> None:
    broken = []
    for page in (*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")):
        for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" in target or target.startswith(("mailto:", "/")):
                continue
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
