"""Kubeflow's own store: found by kfp-launcher, by an input artifact or by Kubeflow's defaults, in a step only."""

import base64
import inspect
import json
from contextlib import suppress

import pytest
import yaml
from kfp.dsl import Artifact

import kfp_bert_components
from kfp_bert_components.errors import UserError
from kfp_bert_components.storage import Access, job_access, open_store, remember_session, s3_account
from tests.support.kubernetes_server import Fault, KubernetesServer
from tests.support.s3_server import KEYS
from tests.support.stores import s3

__all__ = ["s3"]
# As KFP 2.17 writes it of an artifact in its own store; the launcher of a real cluster gave this one.
RECORDED = {
    "accessKeyKey": "accesskey",
    "disableSSL": "true",
    "endpoint": "seaweedfs.kubeflow:9000",
    "fromEnv": "false",
    "maxRetries": "5",
    "region": "minio",
    "secretKeyKey": "secretkey",
    "secretName": "mlpipeline-minio-artifact",
}
QUICK = Access(patience=0.1)
RIGHTS = [{"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["get"]}]


@pytest.fixture
def cluster(s3, tmp_path, monkeypatch):
    """A step of Kubeflow in the namespace team, with Kubeflow's secret; no variable says where the store is."""
    for name in (*KEYS, "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("KFP_POD_NAME", "run-1-system-container-impl-1")
    monkeypatch.setenv("TRACESTATE", "workflow=team/run-1")
    s3.put("bucket", "x", b"hello")
    with KubernetesServer(factor=0) as server:
        server.rules = RIGHTS
        add_secret(server, "mlpipeline-minio-artifact", accesskey="kubeflow", secretkey="s")
        (tmp_path / ".kube").mkdir()
        server.kubeconfig(tmp_path).rename(tmp_path / ".kube" / "config")
        yield server


def add_secret(server, name, **data):
    content = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    server.cluster.add("Secret", name, "team", data=content)


def add_launcher(server, root="", **providers):
    data = {"defaultPipelineRoot": root, "providers": yaml.safe_dump(providers)}
    server.cluster.add("ConfigMap", "kfp-launcher", "team", data=data)


def provider(s3, name="mine", **changes):
    """A provider as KFP's documentation has it, with a secret of another name and other keys."""
    keys = {"secretRef": {"secretName": name, "accessKeyKey": "a", "secretKeyKey": "b"}, "fromEnv": False}
    found = {"endpoint": address(s3), "region": "eu-west-1", "disableSSL": True, "credentials": keys}
    return {**found, **changes}


def address(s3):
    return s3.url.removeprefix("http://")


def remember(s3, uri="minio://mlpipeline/v2/artifacts/a/b/c", **changes):
    params = {**RECORDED, "endpoint": address(s3), **changes}
    remember_session(uri, session_info(uri, **params))


def session_info(uri, **params):
    return json.dumps({"Provider": uri.partition(":")[0], "Params": params})


def signed(s3):
    """Access key and region of the requests."""
    found = {one.partition("Credential=")[2].split("/", 1)[0] for one in s3.authorizations}
    return found, {one.partition("Credential=")[2].split("/")[2] for one in s3.authorizations}


def test_a_store_and_its_keys_are_those_of_kfp_launcher(cluster, s3):
    add_secret(cluster, "mine", a="launcher", b="s")
    add_launcher(cluster, s3={"default": provider(s3)})
    assert open_store("s3://bucket").read("x").data == b"hello"
    assert signed(s3) == ({"launcher"}, {"eu-west-1"})
    assert open_store("s3://bucket/y").list() == []
    assert [str(call) for call in cluster.calls] == ["get configmaps", "get secrets"]  # once a process
    who = "credentials from the secret mine, which kfp-launcher names"
    assert s3_account("s3://bucket") == f"the store at {s3.url} is asked with {who}, region eu-west-1"


@pytest.mark.parametrize("overrides", ["overrides", "Overrides"])
def test_the_first_override_for_a_bucket_and_its_prefix_counts(cluster, s3, overrides):
    for name in ("mine", "first", "second", "other"):
        add_secret(cluster, name, a=name, b="s")

    def of(bucket, prefix, name):
        return {"bucketName": bucket, "keyPrefix": prefix, "credentials": provider(s3, name)["credentials"]}

    rest = {"region": "", "endpoint": None}
    places = [of("other", "", "other"), {**of("bucket", "in/", "first"), **rest}, of("bucket", "in/sub", "second")]
    add_launcher(cluster, minio={"default": provider(s3), overrides: places})
    open_store("minio://bucket/in").exists("x")
    assert signed(s3) == ({"first"}, {"eu-west-1"})
    s3.authorizations.clear()
    open_store("minio://bucket/inside").exists("x")
    assert signed(s3)[0] == {"mine"}


def test_minio_without_a_word_is_kubeflows_default_store(cluster):
    add_launcher(cluster, "minio://mlpipeline/v2/artifacts")
    with pytest.raises(UserError, match=r"can't be reached: .*the store at http://seaweedfs\.kubeflow:9000"):
        open_store("minio://bucket", QUICK).read("x")


def test_what_an_input_artifact_in_the_same_bucket_says_counts_before_kfp_launcher(cluster, s3):
    add_secret(cluster, "mine", a="launcher", b="s")
    add_launcher(cluster, minio={"default": provider(s3)})
    remember(s3)
    remember(s3, "minio://bucket/a", region="near")
    assert open_store("minio://bucket").read("x").data == b"hello"
    assert signed(s3) == ({"kubeflow"}, {"near"})
    assert [str(call) for call in cluster.calls] == ["get secrets"]


def test_what_an_artifact_in_another_bucket_says_counts_where_kfp_launcher_says_nothing(cluster, s3):
    remember(s3)
    assert open_store("minio://bucket").read("x").data == b"hello"
    assert signed(s3) == ({"kubeflow"}, {"minio"})
    said = (
        r"s3://bucket needs .* none here \(kfp-launcher of the namespace team can't be read: .* not find it .*\): set"
    )
    with pytest.raises(UserError, match=said):  # another scheme is another store
        open_store("s3://bucket").read("x")


@pytest.mark.parametrize("missing", ["the ConfigMap", "a right"])
def test_where_kfp_launcher_can_not_be_read_an_artifact_says_it(cluster, s3, missing):
    if missing == "a right":
        add_launcher(cluster, minio={"default": provider(s3, "nobody")})
        cluster.rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
    remember(s3)
    assert open_store("minio://bucket").read("x").data == b"hello"


@pytest.mark.parametrize("told", ["", "null", "{", "[]", '{"Provider": "gs", "Params": null}'])
def test_an_artifact_that_says_nothing_of_its_store_is_no_witness(cluster, s3, told):
    remember_session("minio://bucket/a", told)
    add_secret(cluster, "mine", a="launcher", b="s")
    add_launcher(cluster, minio={"default": provider(s3)})
    open_store("minio://bucket").read("x")
    assert signed(s3)[0] == {"launcher"}


def test_variables_count_first_each_for_what_it_says(cluster, s3, monkeypatch):
    remember(s3, "s3://bucket/a")
    monkeypatch.setenv("AWS_REGION", "mine")
    open_store("s3://bucket").read("x")
    assert signed(s3) == ({"kubeflow"}, {"mine"})
    s3.authorizations.clear()
    cluster.calls.clear()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    open_store("s3://bucket").read("x")
    assert signed(s3) == ({"key"}, {"mine"})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(UserError, match="can't be reached"):
        open_store("s3://bucket", QUICK).exists("x")
    assert cluster.calls == []


def test_keys_of_the_environment_go_with_a_store_that_kfp_launcher_names(cluster, s3, monkeypatch):
    add_launcher(cluster, s3={"default": provider(s3, credentials={"fromEnv": True})})
    with pytest.raises(UserError, match="s3://bucket needs credentials and there are none here: set"):
        open_store("s3://bucket").read("x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert open_store("s3://bucket").read("x").data == b"hello"
    assert signed(s3) == ({"key"}, {"eu-west-1"})


def test_a_pipeline_root_with_a_query_says_where_its_bucket_is(cluster, s3, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    query = f"region=there&endpoint={address(s3)}&disable_https=true&s3ForcePathStyle=true"
    add_launcher(cluster, f"s3://bucket/root?{query}")
    assert open_store("s3://bucket").read("x").data == b"hello"
    assert signed(s3) == ({"key"}, {"there"})


@pytest.mark.parametrize(
    ("changes", "host"),
    [
        ({"endpoint": "s3.example.invalid", "disableSSL": False}, "https://s3.example.invalid"),
        ({"endpoint": "https://s3.example.invalid"}, "https://s3.example.invalid"),
        ({"endpoint": "s3.amazonaws.com", "region": "xx-none-1"}, "AWS in xx-none-1"),
        ({"endpoint": "h.invalid", "forcePathStyle": False}, "http://bucket.h.invalid/x"),
    ],
)
def test_the_address_is_read_as_kubeflows_launcher_reads_it(cluster, s3, changes, host, monkeypatch):
    add_secret(cluster, "mine", a="launcher", b="s")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # nothing leaves this machine
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    add_launcher(cluster, s3={"default": provider(s3, **changes)})
    with pytest.raises(UserError, match=host.replace(".", r"\.")):
        open_store("s3://bucket", QUICK).read("x")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (None, r"can't be read: Kubernetes does not find it .*secrets \"mine\" not found"),
        ({"a": "key"}, "has no keys a and b"),
        ("forbidden", r"can't be read: Kubernetes does not allow GET .*secrets/mine"),
    ],
)
def test_a_secret_that_gives_no_keys_is_named_with_what_names_it(cluster, s3, data, why):
    add_launcher(cluster, s3={"default": provider(s3)})
    if isinstance(data, dict):
        add_secret(cluster, "mine", **data)
    elif data:
        cluster.rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    said = r"s3://bucket needs credentials and there are none here \(the secret mine of the namespace team, which "
    with pytest.raises(UserError, match=rf"{said}kfp-launcher names, {why}.*\): set AWS_ACCESS_KEY_ID"):
        open_store("s3://bucket").read("x")


def test_a_secret_that_holds_no_text_is_named(cluster, s3):
    add_launcher(cluster, s3={"default": provider(s3)})
    cluster.cluster.add("Secret", "mine", "team", data={"a": base64.b64encode(b"\xff").decode(), "b": ""})
    with pytest.raises(UserError, match="the secret mine .* has no text under a and b"):
        open_store("s3://bucket").read("x")


@pytest.mark.parametrize("key", ["a", "b"])
def test_a_secret_whose_key_ends_with_a_line_break_is_named_with_the_key(cluster, s3, key):
    add_launcher(cluster, s3={"default": provider(s3)})
    add_secret(cluster, "mine", **{"a": "hunter2", "b": "hunter2", key: "hunter2\n"})
    said = (
        f"The value of {key} in the secret mine of the namespace team has white space at an end, or .*: write it anew"
    )
    for call in (lambda: open_store("s3://bucket").read("x"), lambda: job_access(["s3://bucket/x"], "team")):
        with pytest.raises(UserError, match=said) as raised:
            call()
        assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"endpoint": "user:hunter2@127.0.0.1:9"}, "The address of the S3 store in kfp-launcher has a user in it"),
        ({"endpoint": "127.0.0.1:port"}, "The address of the S3 store is 'http://127.0.0.1:port', from kfp-launcher"),
        ({"endpoint": "127.0.0.1:9", "forcePathStyle": False}, "is 'http://bucket.127.0.0.1:9', from kfp-launcher"),
        ({"region": "us-east-1\n"}, r"The region of the S3 store is 'us-east-1\\n', from kfp-launcher"),
    ],
)
def test_what_kubeflow_says_of_a_store_and_can_not_be_is_named(cluster, s3, changes, said):
    add_secret(cluster, "mine", a="launcher", b="s")
    add_launcher(cluster, s3={"default": provider(s3, **changes)})
    with pytest.raises(UserError, match=said) as raised:
        open_store("s3://bucket", QUICK).read("x")
    assert "hunter2" not in str(raised.value)


def test_a_kfp_launcher_that_can_not_be_read_as_such_is_named(cluster, s3):
    cluster.cluster.add("ConfigMap", "kfp-launcher", "team", data={"providers": "s3: [1]"})
    with pytest.raises(UserError, match="The ConfigMap kfp-launcher of the namespace team can't be read: expected"):
        open_store("s3://bucket").read("x")


def test_kubernetes_is_asked_again_where_it_does_not_answer(cluster, s3):
    add_secret(cluster, "mine", a="launcher", b="s")
    add_launcher(cluster, s3={"default": provider(s3)})
    cluster.faults += [Fault(resource="configmaps"), Fault(resource="secrets", effect="reset")]
    assert open_store("s3://bucket").read("x").data == b"hello"


@pytest.mark.parametrize(
    ("component", "given"),
    [
        ("prepare_text_data", "data"),
        ("finetune_bert", "train"),
        ("evaluate_champion", "test"),
        ("compare_models", "candidate"),
        ("wait_for_approval", "decision"),
        ("promote_model", "model"),
        ("batch_predict", "data"),
        ("batch_predict", "model"),
    ],
)
def test_a_component_reaches_its_places_as_kfp_reaches_its_input(cluster, s3, tmp_path, component, given):
    told = {**RECORDED, "endpoint": address(s3)}
    call = getattr(kfp_bert_components, component).python_func
    wanted = inspect.signature(call).parameters.values()
    values = {one.name: Artifact(uri=str(tmp_path / one.name)) for one in wanted if one.default is one.empty}
    values |= {
        name: "minio://bucket/none" for name in ("registry", "reference", "table") if name in call.__annotations__
    }
    values |= {"run_on": "nowhere"} if "run_on" in call.__annotations__ else {}
    uri = "minio://bucket/v2/artifacts/a/b/c"
    values[given] = Artifact(uri=uri, metadata={"store_session_info": session_info(uri, **told)})
    with suppress(Exception):  # there is nothing at these places
        call(**values)
    assert open_store("minio://bucket", QUICK).read("x").data == b"hello"
    assert signed(s3) == ({"kubeflow"}, {"minio"})


def test_a_job_is_told_of_a_store_whose_buckets_are_in_the_hosts_name(cluster, s3):
    add_secret(cluster, "mine", a="launcher", b="s")
    add_launcher(cluster, s3={"default": provider(s3, endpoint="h.invalid", forcePathStyle=False)})
    found = job_access(["s3://bucket/a", "gs://bucket/b", "s3://bucket/c", ""], "team")
    where = {"AWS_ENDPOINT_URL": "http://bucket.h.invalid", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true"}
    assert found.variables == {**where, "AWS_REGION": "eu-west-1"}
    assert found.secrets == {"AWS_ACCESS_KEY_ID": ("mine", "a"), "AWS_SECRET_ACCESS_KEY": ("mine", "b")}
    assert (found.keyless, job_access(["s3://bucket/a"]).keyless) == ("", "s3://bucket/a")
    with pytest.raises(UserError, match="A job can be told of one S3 store only"):
        job_access(["s3://bucket/a", "s3://other/b"], "team")


def test_a_job_may_have_places_that_its_step_has_no_keys_for(cluster, monkeypatch):
    found = job_access(["s3://bucket/a"], "team")
    assert (found.variables, found.secrets, found.keyless) == ({"AWS_REGION": "us-east-1"}, {}, "s3://bucket/a")
    monkeypatch.setenv("KFP_BERT_ANONYMOUS", "true")
    found = job_access(["s3://bucket/a"], "team")
    assert (found.variables["KFP_BERT_ANONYMOUS"], found.keyless) == ("true", "")


def test_a_laptop_asks_no_cluster(cluster, s3, monkeypatch):
    remember(s3, "s3://bucket/a")
    monkeypatch.delenv("KFP_POD_NAME")
    with pytest.raises(UserError, match="s3://bucket needs credentials and there are none here: set"):
        open_store("s3://bucket").read("x")
    assert cluster.calls == []
