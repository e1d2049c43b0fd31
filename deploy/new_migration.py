"""`make migration NAME="…"`: writes the difference between the models and the migrated schema as a new migration."""

import sys

from alembic import command
from alembic.script import ScriptDirectory
from gp4u_server import migrations
from scratch_database import migrated_database


def main() -> None:
    """Number it after the newest one."""
    with migrated_database() as url:
        configuration = migrations.configuration(url)
        configuration.set_main_option("file_template", "%%(rev)s_%%(slug)s")
        newest = ScriptDirectory.from_config(configuration).get_current_head() or "0000"
        command.revision(
            configuration, message=sys.argv[1], autogenerate=True, rev_id=f"{int(newest) + 1:04d}"
        )


main()
