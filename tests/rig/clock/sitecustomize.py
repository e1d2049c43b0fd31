"""Loaded by Python in processes whose wall clock is faked: libfaketime answers `clock_nanosleep` with an error there, so sleeping goes
through `select`, which it leaves alone. Nothing else is changed."""

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep
