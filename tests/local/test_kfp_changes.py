"""What is replaced in kfp.local is there, and a kfp in which it is not is refused."""

import subprocess
import sys

import pytest

CHANGE = "from kfp_bert_components.local.kfp_changes import change_kfp_local; change_kfp_local('run', print)"


def change(before=""):
    return subprocess.run([sys.executable, "-c", f"{before}\n{CHANGE}"], capture_output=True, text=True, timeout=60)


def test_this_kfp_has_all_that_is_replaced():
    assert change().stderr == ""


@pytest.mark.parametrize(
    "other_kfp",
    [
        "from kfp.local.subprocess_task_handler import SubprocessTaskHandler as h; h.run = lambda self, task: 1",
        "from kfp.local.orchestrator import enhanced_dag_orchestrator as o; del o._run_parallel_for_task",
        "from kfp.local.orchestrator.enhanced_dag_orchestrator import ConditionEvaluator as c\n"
        "c.evaluate_condition = staticmethod(lambda condition, io_store, task: True)",
    ],
)
def test_a_kfp_that_runs_pipelines_in_another_way_is_refused(other_kfp):
    assert "UserError: kfp 2" in change(other_kfp).stderr
