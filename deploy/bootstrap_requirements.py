"""Writes deploy/bootstrap-requirements.txt: the pinned uv of uv.lock with the hashes of its Linux and macOS wheels."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MACHINES = ("x86_64", "aarch64", "arm64")


def main() -> None:
    """Take uv's entry out of the lock file."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    uv = next(package for package in lock["package"] if package["name"] == "uv")
    hashes = [
        f"    --hash={wheel['hash']}"
        for wheel in uv["wheels"]
        if any(system in wheel["url"] for system in ("manylinux", "macosx"))
        and any(machine in wheel["url"] for machine in MACHINES)
    ]
    lines = [
        "# The one tool that `make` installs with pip; everything else comes from uv.lock. Taken from there, with its",
        "# hashes for Linux and macOS. After a change of uv in uv.lock: make bootstrap-requirements",
        " \\\n".join([f"uv=={uv['version']}", *hashes]),
    ]
    (ROOT / "deploy" / "bootstrap-requirements.txt").write_text("\n".join(lines) + "\n")


main()
