"""Fails when something generated is not what its source says: the schema, web/openapi.json, the web's API types.

Mend it with: make migration, or `.venv/bin/python -m gp4u_server.api.openapi > web/openapi.json` and then
`deploy/with-node npm --prefix web run api`.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from alembic.util import CommandError
from gp4u_server import migrations
from scratch_database import migrated_database

ROOT = Path(__file__).resolve().parents[1]


def schema_differs() -> str | None:
    """Models against migrations."""
    with migrated_database() as url:
        try:
            migrations.check(url)
        except CommandError as error:
            return f"models and migrations differ: {error}"
    return None


def openapi_differs() -> str | None:
    """The API's document against the file that the web app is generated from."""
    printed = subprocess.run(
        [sys.executable, "-m", "gp4u_server.api.openapi"], capture_output=True, text=True, check=True
    ).stdout
    if json.loads(printed) != json.loads((ROOT / "web" / "openapi.json").read_text()):
        return "web/openapi.json is not the API's document"
    return None


def types_differ() -> str | None:
    """The web app's generated types against web/openapi.json."""
    types = ROOT / "web" / "src" / "api" / "schema.d.ts"
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / "schema.d.ts"
        script = json.loads((ROOT / "web" / "package.json").read_text())["scripts"]["api"]
        command = script.replace("src/api/schema.d.ts", str(again))
        subprocess.run(
            [str(ROOT / "deploy" / "with-node"), "npx", "--no-install", *command.split()],
            cwd=ROOT / "web",
            capture_output=True,
            check=True,
        )
        # The committed file is formatted afterwards; format the fresh one alike before comparing.
        beside = types.with_name("schema.check.d.ts")
        shutil.copyfile(again, beside)
        try:
            if types.read_text() != again.read_text() and types.read_text() != _formatted(beside):
                return "web/src/api/schema.d.ts is not generated from web/openapi.json"
        finally:
            beside.unlink()
    return None


def _formatted(path: Path) -> str:
    subprocess.run(
        [str(ROOT / "deploy" / "with-node"), "npx", "--no-install", "biome", "format", "--write", str(path)],
        cwd=ROOT / "web",
        capture_output=True,
        check=False,
    )
    return path.read_text()


def main() -> None:
    """Every difference on one line each; exit code 1 when there is one."""
    differences = [found for found in (schema_differs(), openapi_differs(), types_differ()) if found]
    for difference in differences:
        print(difference, file=sys.stderr)
    sys.exit(bool(differences))


main()
