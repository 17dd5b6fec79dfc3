"""The number of CPUs for this process: its affinity, and the quota of its control group (cgroups(7))."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIPS = Path("/proc/self/cgroup")


def usable_processors(root: Path = _ROOT, memberships: Path = _MEMBERSHIPS) -> int:
    """Return the smaller of the two, at least 1; a quota of 1.5 processors counts as 2.

    Args:
        root: The mount point of control groups.
        memberships: The file with the groups of this process.
    """
    quotas = [math.ceil(quota) for quota in _quotas(root, memberships)]
    return max(1, min(len(os.sched_getaffinity(0)), *quotas)) if quotas else len(os.sched_getaffinity(0))


def _quotas(root: Path, memberships: Path) -> Iterator[float]:
    """Yield the quotas of the groups of this process, and of their parents."""
    try:
        lines = memberships.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts, read = (root, root / "unified"), _quota_v2
        elif "cpu" in controllers.split(","):
            mounts, read = (root / "cpu", root / controllers), _quota_v1
        else:
            continue
        for mount in mounts:
            # In a container the path may be that on the host, while only the root of the mount exists.
            group = mount / path.lstrip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(mount) and (quota := read(folder)):
                    yield quota


def _quota_v2(folder: Path) -> float:
    """Return cpu.max of a group; 0 without one."""
    match _words(folder / "cpu.max"):
        case [quota, period] if quota != "max":
            return int(quota) / int(period)
    return 0.0


def _quota_v1(folder: Path) -> float:
    quota, period = (_words(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return int(quota[0]) / int(period[0]) if quota and period and int(quota[0]) > 0 else 0.0


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError:
        return []
