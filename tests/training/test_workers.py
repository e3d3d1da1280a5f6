"""Two processes on loopback train as one does, and fail together."""

import json
import re
import socket

import numpy as np
import pytest

from tests.support.training import finish, make_base_model, make_splits, start, weights

# Adam divides by the root of the squared gradient: an epsilon well above the rounding of a sum keeps a gradient
# that is zero but for rounding (that of the key's bias) from becoming a step of full size.
SETTINGS = {
    "epochs": 2,
    "batch_size": 16,
    "max_length": 32,
    "learning_rate": 1e-3,
    "dropout": 0.0,
    "epsilon": 1e-4,
    "deterministic": True,
    "fused": True,
}


def _start_two(folder, settings, kill_second=None):
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    configs = [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}}) for i in range(2)]
    return [
        start(folder, settings, worker=configs[0]),
        start(folder, settings, worker=configs[1], kill=kill_second),
    ]


@pytest.mark.long
def test_two_workers_end_with_the_weights_of_one_also_after_one_was_killed(tmp_path):
    one, two = make_splits(tmp_path / "one", rows=90), make_splits(tmp_path / "two", rows=90)
    settings = SETTINGS | {"base_model": str(make_base_model(tmp_path / "base"))}
    code, output = finish(start(one, settings))
    assert code == 0, output

    checkpoints = {"checkpoint_dir": str(tmp_path / "checkpoints"), "checkpoint_steps": 1}
    chief, second = _start_two(two, settings | checkpoints, kill_second=(8, "SIGKILL"))
    assert finish(second)[0] == -9
    code, output = finish(chief)
    assert code not in (0, -9), output
    assert "Another of the 2 workers was lost after step 8" in output
    assert "they go on from the newest checkpoint" in output

    for process in _start_two(two, settings | checkpoints):
        code, output = finish(process)
        assert code == 0, output
        assert re.search(r"Going on from the checkpoint of seed 0 at step [78]\.", output)
    ours, theirs = weights(two), weights(one)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, atol=2e-5, err_msg=name)
