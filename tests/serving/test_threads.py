"""How many threads a model uses: no more than the container is given, and none that spin there."""

import pytest

from kfp_bert_components.bert import cores
from kfp_bert_components.bert.cores import cpu_limit
from kfp_bert_components.serving import engines
from kfp_bert_components.serving.engines import Threads


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
    ],
)
def test_the_limit_of_a_container_is_read_from_its_control_group(tmp_path, files, limit):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_limit(tmp_path) == limit


@pytest.mark.parametrize(
    ("limit", "asked", "threads"),
    [
        (None, 0, Threads(8, spinning=True)),
        (2.0, 0, Threads(2, spinning=False)),
        (0.5, 0, Threads(1, spinning=False)),
        (64.0, 0, Threads(8, spinning=False)),
        (2.0, 5, Threads(5, spinning=False)),
    ],
)
def test_a_model_uses_the_cores_it_is_given(monkeypatch, limit, asked, threads):
    for module in (cores, engines):
        monkeypatch.setattr(module, "cpu_limit", lambda: limit)
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda process: set(range(8)))
    assert Threads.of_machine(asked) == threads
