"""The schema's history, and how to bring a database to its newest state from an installed package."""

from importlib import import_module
from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

_ONE_AT_A_TIME = Lock()  # alembic keeps its context in module globals
_PACKAGE = Path(__file__).parent.parent


class Failed(Exception):
    """A migration was refused by the database; the message is the database's own."""


class DatabaseIsNewer(Failed):
    """The database is at a revision that this program does not know."""

    def __init__(self, revision: str) -> None:
        super().__init__(f"the database is at revision {revision}, which this program does not know")
        self.revision = revision


def configuration(database_url: str) -> Config:
    """An alembic configuration for `database_url`; no file is read."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str, revision: str = "head") -> None:
    """Migrate `database_url` to `revision`. Two callers at once wait for each other.

    Raises DatabaseIsNewer, or Failed when the database refuses a step, which then changed nothing.
    """
    config = configuration(database_url)
    config.attributes["without_models"] = True  # migrations describe themselves
    with _ONE_AT_A_TIME:
        try:
            command.upgrade(config, revision)
        except CommandError as error:
            if isinstance(error.__cause__, ResolutionError):
                raise DatabaseIsNewer(str(error.__cause__.argument)) from error
            raise
        except DBAPIError as error:
            raise Failed(str(error.orig).strip().splitlines()[0]) from error


def check(database_url: str) -> None:
    """Raise alembic.util.CommandError if the models and the migrated database differ."""
    with _ONE_AT_A_TIME:
        command.check(configuration(database_url))


def load_models() -> None:
    """Import every module that declares tables, so that `Base.metadata` is complete."""
    paths = [*_PACKAGE.rglob("*models.py"), *(_PACKAGE / "foundation").glob("*.py")]
    for path in sorted(paths):
        module = ".".join(path.relative_to(_PACKAGE.parent).with_suffix("").parts)
        import_module(module.removesuffix(".__init__"))
