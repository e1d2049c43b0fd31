"""`python -m gp4u_agent.shim FOLDER`: leaves its parent's session at once and then minds the job in FOLDER."""

import fcntl
import json
import os
import signal
import sys
from pathlib import Path

from gp4u_agent.placement_dir import PlacementDir, boot_id
from gp4u_agent.runtime import processes
from gp4u_agent.shim.loop import Shim

LIFELINE_VARIABLE = "GP4U_LIFELINE_FD"


def main() -> None:
    folder = PlacementDir(Path(sys.argv[1]))
    # Twice forked and in a session of its own: whatever ends the agent does not reach the job through us.
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    lock = os.open(folder.path / "shim.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a second shim of this placement ends here
    errors = os.open(folder.path / "shim.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDWR)
    for source, standard in ((null, 0), (null, 1), (errors, 2)):
        os.dup2(source, standard)
    os.chdir("/")

    order = json.loads(folder.shim_order.read_bytes())
    own = processes.read_stat(os.getpid())
    assert own is not None
    listener = folder.listen()
    folder.write(
        folder.shim_identity,
        {"pid": own.pid, "started_ticks": own.started_ticks, "boot_id": boot_id()},
    )
    lifeline = os.environ.get(LIFELINE_VARIABLE)
    Shim(folder, order, listener, lifeline=int(lifeline) if lifeline else None).run()


if __name__ == "__main__":
    main()
