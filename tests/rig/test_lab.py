"""The lab itself: three hosts, links that break on command, nothing left behind. Skips where there can be none."""

import signal
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import lab as lab_module
from tests.rig.lab import PREFIX, REPOSITORY, Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if reason := lab_module.why_not():
        pytest.skip(reason)
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        serve = [sys.executable, "-m", "http.server", "--directory", str(lab.folder), "8000"]
        lab.start("a", "http", serve)
        deadline = time.monotonic() + 20
        while not answers(lab, "b") and time.monotonic() < deadline:
            time.sleep(0.05)
        yield lab


def answers(lab: Lab, host: str, timeout_s: float = 0.5) -> bool:
    try:
        with (
            lab.inside(host),
            urllib.request.urlopen(f"http://{lab.address('a')}:8000/", timeout=timeout_s) as response,
        ):
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def test_a_link_is_cut_one_way_both_ways_or_for_one_port_and_healed(lab: Lab) -> None:
    assert answers(lab, "b", 10)
    for both in (True, False):
        lab.cut("b", "a", both=both)
        assert not answers(lab, "b"), both
        assert answers(lab, "c", 10), "only the link of b is cut"
        lab.heal()
        assert answers(lab, "b", 10)
    lab.cut("b", "a", port=9999)
    assert answers(lab, "b", 10)
    lab.cut("b", "a", port=8000)
    assert not answers(lab, "b")
    lab.join("a", "b")
    assert answers(lab, "b", 10)
    lab.link("b", "a", loss=1.0, both=False)
    assert not answers(lab, "b")
    lab.heal()


def test_a_link_is_slow(lab: Lab) -> None:
    lab.link("b", "a", delay_s=0.15, jitter_s=0.02)
    began = time.monotonic()
    assert answers(lab, "b", 30)
    assert time.monotonic() - began >= 0.6, "connect and answer: two ways there, two back"
    lab.heal()


def test_what_a_killed_rig_leaves_is_removed_by_the_next(tmp_path: Path) -> None:
    if reason := lab_module.why_not():
        pytest.skip(reason)
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from tests.rig.lab import Lab
        lab = Lab(Path({str(tmp_path)!r}), hosts=("a", "b"))
        lab.__enter__()
        lab.start("b", "orphan", ["setsid", "--fork", "sleep", "600"])
        print(lab.namespace("b"), flush=True)
        time.sleep(600)
    """)
    killed = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=REPOSITORY, text=True
    )
    assert killed.stdout is not None
    namespace = killed.stdout.readline().strip()
    assert namespace.startswith(PREFIX)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    lab_module.remove_left_overs()
    assert namespace not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
