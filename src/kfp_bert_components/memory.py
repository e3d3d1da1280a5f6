"""Memory: what this process has, what its container may have, and a word where a step needs more."""

import re
from pathlib import Path

from kfp_bert_components.progress import say

_NONE = 1 << 60  # cgroup v1 writes a number of this size where there is no limit


def memory_limit(root: Path = Path("/")) -> int | None:
    """The bytes of memory that this process may have: the least limit of its control groups, v1 or v2.

    Args:
        root: Where /proc and /sys are, for tests.

    Returns:
        The machine's memory where no group has a lower limit; None where neither is known.
    """
    limits = [int(kb) * 1024 for kb in re.findall(r"MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"))]
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            limits += _limits(root / "sys/fs/cgroup", path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
    return min(limits, default=None)


def memory_used() -> int:
    """The bytes of memory that this process has now; 0 where that is not known."""
    found = re.search(r"VmRSS:\s+(\d+) kB", _text(Path("/proc/self/status")))
    return int(found[1]) * 1024 if found else 0


def say_memory(needed: float, remedy: str, limit: int | None = None) -> None:
    """Say what a step is expected to need and what it may have, with a warning where that is less.

    Args:
        needed: Bytes that it is expected to need at most.
        remedy: What to do where that is too much: "give it more memory, or a smaller batch_size".
        limit: Bytes that it may have; by default `memory_limit()`.
    """
    limit = limit or memory_limit()
    there = f", {_size(limit)} available" if limit else ""
    say(f"Memory: about {_size(needed)} needed{there}.")
    if limit and needed > limit:
        say(
            "warning: that is too little: the system may end this step without a message (OOMKilled, exit status "
            f"137). Now: {remedy}."
        )


def _limits(groups: Path, path: str, name: str) -> list[int]:
    """The limits of a group and of all above it. In a container, its own group is often the root of what it sees."""
    folders = [groups / path.strip("/"), *(groups / path.strip("/")).parents]
    texts = [_text(folder / name).strip() for folder in folders if folder == groups or groups in folder.parents]
    return [int(text) for text in texts if text.isdigit() and int(text) < _NONE]


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e9:.2f} GB"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
