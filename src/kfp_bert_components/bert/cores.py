"""How many cores this process may use."""

import os
from pathlib import Path


def usable_cores() -> int:
    """The number of cores for this process; in a container with a CPU limit no more than the limit, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, round(cpu_limit() or cores)))


def cpu_limit(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """How many cores' time this container is given, as Kubernetes' `limits.cpu`; None where there is no limit.

    Args:
        root: Where the control groups (version 1 or 2) are.
    """
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None
