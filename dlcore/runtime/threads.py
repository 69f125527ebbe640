"""How many threads a run may use."""
from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

from dlcore.errors import UsageError

MOST = 256          # TEAM_MAX of team.h
_limit: int | None = None
_watchers: list[Callable[[], None]] = []


def default_threads() -> int:
    """The most threads that a run uses: `set_threads`, else `DLCORE_THREADS`, else the cores this process may use.

    Programs whose cost does not pay for so many use fewer; results are the same bits whatever the number.
    """
    global _limit
    if _limit is None:
        text = os.environ.get("DLCORE_THREADS", "").strip()
        _limit = check_threads(text, "DLCORE_THREADS") if text else min(MOST, cores())
    return _limit


def set_threads(threads: int | None) -> None:
    """Sets the most threads that a run of this process uses; None: `DLCORE_THREADS` or the number of cores again."""
    global _limit
    _limit = None if threads is None else check_threads(threads, "set_threads")
    for changed in _watchers:
        changed()


def watch(changed: Callable[[], None]) -> None:
    """`changed` is called after every `set_threads`."""
    _watchers.append(changed)


def check_threads(value: object, where: str) -> int:
    """`value` as a number of threads; raises UsageError naming `where`."""
    try:
        threads = int(value)            # type: ignore[call-overload]
    except (TypeError, ValueError):
        threads = 0
    if isinstance(value, float) or not 1 <= threads <= MOST:
        raise UsageError("bad number of threads", where=where, expected=f"a whole number from 1 to {MOST}",
                         got=repr(value))
    return threads


def cores() -> int:
    """Physical cores that this process may run on, at most what its control group grants."""
    allowed = sorted(os.sched_getaffinity(0))
    return max(1, min(len({_siblings(cpu) for cpu in allowed}), _quota()))


def _siblings(cpu: int) -> str:
    """Which hardware threads share a core with this one: a second thread of a core adds nothing to a matrix product."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _quota() -> int:
    """Whole processors that control groups (version 2, then 1) grant."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text().strip()
            period = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return MOST
    if quota in ("max", "-1"):
        return MOST
    return max(1, math.floor(int(quota) / int(period) + 0.01))
