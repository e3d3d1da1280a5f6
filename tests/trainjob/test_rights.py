"""The Role in examples/ allows all that a step with a TrainJob does, and no more; with less a sentence says so."""

import pytest
import yaml

from kfp_bert_components.errors import UserError
from kfp_bert_components.steps.clean_up_run import clean_up_run
from kfp_bert_components.trainjob.objects import our_runtime
from tests.conftest import ROOT
from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_server import KubernetesServer
from tests.support.splits import write_small_splits
from tests.support.train_jobs import NAMESPACE, leave_outputs, run
from tests.support.trainer_tapes import Tape

ROLE, BINDING, RUNTIME = yaml.safe_load_all((ROOT / "examples" / "trainjob-rights.yaml").read_text())


@pytest.fixture
def world(tmp_path):
    write_small_splits(tmp_path)
    with KubernetesServer() as server:
        server.rules = [dict(rule) for rule in ROLE["rules"]]
        yield server, tmp_path


def without(server, resource, *verbs):
    """Take rights away."""
    for rule in server.rules:
        if resource in rule["resources"]:
            rule["verbs"] = [one for one in rule["verbs"] if one not in verbs]


def used(server):
    return {(call.group, call.resource, call.verb) for call in server.calls if call.namespace}


def test_the_role_has_all_rights_that_are_used_and_no_more(world, monkeypatch):
    server, folder = world
    monkeypatch.setenv("KFP_POD_NAME", "step-1")
    monkeypatch.setenv("KFP_POD_UID", "uid-1")
    monkeypatch.setenv("TRACESTATE", f"workflow={NAMESPACE}/flow")
    tape = Tape(server.cluster, "t-ok", on_complete=leave_outputs)
    run(folder, server.url)
    monkeypatch.setenv("KFP_POD_UID", "uid-2")
    run(folder, server.url)  # waits for the job of another pod
    tape.change_to("")
    with pytest.raises(UserError, match="nothing has come of it"):
        run(folder, server.url, labels={"a": "b"}, image="image:2")
    tape.change_to("t-fail0")
    with pytest.raises(UserError, match="the reason"):
        run(folder, server.url, image="image:3")
    clean_up_run("FAILED", "", ["run-1"], namespace=NAMESPACE, api_endpoint=server.url)
    allowed = {
        (group, resource, verb)
        for rule in ROLE["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert used(server) == allowed


def test_without_the_right_to_make_a_runtime_a_sentence_says_who_can(world):
    server, folder = world
    without(server, "trainingruntimes", "create")
    with pytest.raises(UserError, match="somebody else must make the TrainingRuntime kfp-bert once"):
        run(folder, server.url)
    assert server.cluster.store.list(by_kind("TrainJob")) == []
    # With Trainer's own edit role the runtime that somebody made is enough.
    server.cluster.add("TrainingRuntime", "kfp-bert", NAMESPACE, spec=RUNTIME["spec"])
    Tape(server.cluster, "t-ok", on_complete=leave_outputs)
    assert run(folder, server.url) == {"validation_loss": 0.5}


def test_the_runtime_in_the_file_is_the_one_that_is_made():
    assert our_runtime("kubeflow") == RUNTIME


def test_without_the_right_to_pods_it_works_and_says_once_that_there_is_no_log(world, capsys):
    server, folder = world
    without(server, "pods", "list")
    Tape(server.cluster, "t-ok", on_complete=leave_outputs)
    assert run(folder, server.url) == {"validation_loss": 0.5}
    assert (
        capsys.readouterr().out.count("The job's pods can't be seen, so there is no log here: Kubernetes does not") == 1
    )


def test_without_the_right_to_create_a_sentence_names_the_file_of_the_rights(world):
    server, folder = world
    without(server, "trainjobs", "create")
    with pytest.raises(UserError, match=r"cannot create resource .*examples/trainjob-rights\.yaml of the source"):
        run(folder, server.url)


def test_without_the_right_to_patch_a_step_that_takes_over_says_so(world, monkeypatch, capsys):
    server, folder = world
    without(server, "trainjobs", "patch")
    monkeypatch.setenv("KFP_POD_NAME", "step-1")
    monkeypatch.setenv("KFP_POD_UID", "uid-1")
    monkeypatch.setenv("TRACESTATE", f"workflow={NAMESPACE}/flow")
    Tape(server.cluster, "t-ok", on_complete=leave_outputs)
    run(folder, server.url)
    monkeypatch.setenv("KFP_POD_UID", "uid-2")
    assert run(folder, server.url) == {"validation_loss": 0.5}
    assert "The job would end if the pod that started it were deleted" in capsys.readouterr().out
    (owner,) = server.cluster.store.list(by_kind("TrainJob"))[0]["metadata"]["ownerReferences"]
    assert owner["uid"] == "uid-1"
