"""Whoever tries GP4U below /tmp has his Python there, and the job's own /tmp must not cover it."""

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from tests.integration.agent.conftest import NAMESPACES_WORK, PROBE

ROOT = Path(__file__).resolve().parents[3]
_JOB = (
    "from gp4u_agent.runtime.sandbox import Sandbox\n"
    "from tests.integration.agent.runtimes import output, running\n"
    "command = 'python -c \"import sys; print(sys.prefix)\" && touch /tmp/mine && ls /tmp'\n"
    "with running(Sandbox(), command) as (runtime, _, fd): print(output(runtime, fd))\n"
)


@pytest.mark.skipif(not NAMESPACES_WORK, reason=f"the sandbox does not work here: {PROBE.why_not}")
def test_a_python_below_tmp_is_the_jobs_python_too() -> None:
    folder = Path(tempfile.mkdtemp(prefix="gp4u-python-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        made = folder / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True, timeout=60)
        python = made / "bin" / "python"
        own = sysconfig.get_path("purelib", vars={"base": str(made), "platbase": str(made)})
        packages = sysconfig.get_path("purelib")
        (Path(own) / "ours.pth").write_text(f"import site; site.addsitedir({packages!r})\n")
        done = subprocess.run(
            [python, "-c", _JOB], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        said = done.stdout.split()
        assert said[0] == str(made), done.stdout
        assert "mine" in said
    finally:
        shutil.rmtree(folder)
