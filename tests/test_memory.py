"""What a container may have is read from its control groups; a step that needs more says so."""

import pytest

from kfp_bert_components.memory import memory_limit, memory_used, say_memory

MACHINE = {"proc/meminfo": "MemTotal:       16384000 kB\nMemFree: 1 kB\n"}
V1_NONE = {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "2147483648\n"}, 2147483648),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 16384000 * 1024),
        # seen from outside of the container: the limit is one of a group above
        ({"proc/self/cgroup": "0::/pod/c\n", "sys/fs/cgroup/pod/memory.max": "1000000000\n"}, 1000000000),
        (
            {
                "proc/self/cgroup": "0::/pod/c\n",
                "sys/fs/cgroup/pod/memory.max": "3000\n",
                "sys/fs/cgroup/pod/c/memory.max": "2000\n",
            },
            2000,
        ),
        # v1: the path is that on the host, and the container sees its own group at the root
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/kubepods/a\n4:memory:/kubepods/a\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n",
            },
            1073741824,
        ),
        ({"proc/self/cgroup": "4:memory:/\n0::/\n"} | V1_NONE, 16384000 * 1024),
        ({}, 16384000 * 1024),
    ],
)
def test_the_limit_is_the_least_of_the_control_groups_and_the_machine(tmp_path, files, limit):
    for name, text in (MACHINE | files).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory_limit(tmp_path) == limit


def test_where_nothing_is_known_there_is_no_limit(tmp_path):
    assert memory_limit(tmp_path) is None


def test_this_machine_is_read():
    assert 1_000_000 < memory_used() < memory_limit()


def test_a_step_that_needs_more_than_it_may_have_warns(capsys):
    say_memory(4.26e9, "give it more memory", limit=2_000_000_000)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Memory: about 4.3 GB needed, 2.0 GB available."
    assert lines[1].startswith("warning: ") and "exit status 137" in lines[1] and "give it more memory" in lines[1]
    say_memory(1.5e9, "give it more memory", limit=2_000_000_000)
    assert capsys.readouterr().out == "Memory: about 1.5 GB needed, 2.0 GB available.\n"
