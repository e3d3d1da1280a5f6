"""What is special about S3: how the store is found and signed in to, its errors, stores that overlook conditions."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.leases import Lease, Watch, read_lease
from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import Access, close_clients, find_objects, job_access, open_store
from tests.support.models import promote_next
from tests.support.s3_server import KEYS, S3Server
from tests.support.stores import s3

__all__ = ["s3"]


@pytest.fixture
def bare(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A store, and an environment that does not say where it is nor who we are."""
    for name in (*KEYS, "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3.put("bucket", "x", b"hello")
    return s3


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
@pytest.mark.parametrize("scheme", ["s3", "minio"])
def test_the_store_and_the_keys_are_those_of_the_environment(
    bare: S3Server, monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str
) -> None:
    monkeypatch.setenv(variable, f"{bare.url}/")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    store = open_store(f"{scheme}://bucket")
    assert (store.uri, store.read("x").data) == (f"{scheme}://bucket", b"hello")
    assert all("Credential=key/" in one and "/us-east-1/s3/" in one for one in bare.authorizations)
    assert open_store(find_objects(f"{scheme}://bucket/*")[0].address.removesuffix("/x")).exists("x")


@pytest.mark.parametrize("profile", ["default", "work", "my team"])
def test_the_store_and_the_keys_are_those_of_a_profile(
    bare: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    (tmp_path / ".aws").mkdir()
    quoted = f'"{profile}"' if " " in profile else profile
    section = profile if profile == "default" else f"profile {quoted}"
    (tmp_path / ".aws" / "config").write_text(f"[{section}]\nendpoint_url = {bare.url}\nregion = eu-west-1\n")
    keys = "aws_access_key_id = mine\naws_secret_access_key = s\naws_session_token = t\n"
    (tmp_path / ".aws" / "credentials").write_text(f"[other]\naws_access_key_id = no\n[{profile}]\n{keys}")
    if profile != "default":
        monkeypatch.setenv("AWS_PROFILE", profile)
    assert open_store("s3://bucket").read("x").data == b"hello"
    (signed,) = bare.authorizations
    assert "Credential=mine/" in signed and "/eu-west-1/s3/" in signed
    assert bare.headers[-1]["x-amz-security-token"] == "t"


@pytest.mark.parametrize("key", ["role_arn", "credential_process", "sso_session"])
def test_a_profile_whose_credentials_are_made_by_tools_is_named(
    bare: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(f"[profile work]\n{key} = something\nendpoint_url = {bare.url}\n")
    monkeypatch.setenv("AWS_PROFILE", "work")
    with pytest.raises(UserError, match=rf"profile work has none: it has {key}, .* --profile work --format env"):
        open_store("s3://bucket").read("x")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    assert open_store("s3://bucket").read("x").data == b"hello"


def test_a_token_of_the_environment_does_not_go_with_the_keys_of_a_profile(
    bare: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".aws").mkdir()
    keys = "aws_access_key_id = mine\naws_secret_access_key = s\n"
    (tmp_path / ".aws" / "credentials").write_text(f"[default]\n{keys}")
    monkeypatch.setenv("AWS_ENDPOINT_URL", bare.url)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-other-keys")
    assert open_store("s3://bucket").read("x").data == b"hello"
    (signed,) = bare.authorizations
    assert "Credential=mine/" in signed
    assert "x-amz-security-token" not in bare.headers[-1]


def test_a_public_bucket_is_read_without_a_signature(bare: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", bare.url)
    assert open_store("s3://bucket", Access(anonymous=True)).read("x").data == b"hello"
    monkeypatch.setenv("KFP_BERT_ANONYMOUS", "true")
    assert open_store("s3://bucket").read("x").data == b"hello"
    assert bare.authorizations == set()


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, "s3://bucket needs credentials and there are none here: set AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": "key"}, "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set: set both"),
        (
            {"AWS_ENDPOINT_URL": "minio:9000"},
            "The address of the S3 store is 'minio:9000', from AWS_ENDPOINT_URL: give",
        ),
        (
            {"AWS_PROFILE": "prod"},
            r"AWS_PROFILE names the profile 'prod', and neither .*/config nor .*/credentials has it",
        ),
        (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token"},
            "AWS_WEB_IDENTITY_TOKEN_FILE is set without AWS_ROLE_ARN, which belongs to it: set both, or",
        ),
        (
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://x/", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "t"},
            "AWS_CONTAINER_CREDENTIALS_FULL_URI is set without AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, which belongs",
        ),
        ({"AWS_CONFIG_FILE": "/"}, "^/ can't be read as AWS's tools write it: .*directory"),
        ({"AWS_SHARED_CREDENTIALS_FILE": __file__}, "test_s3.py can't be read as AWS's tools write it: "),
    ],
)
def test_what_is_missing_or_wrong_about_the_settings_is_said(
    bare: S3Server, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=sentence):
        open_store("s3://bucket").read("x")


@pytest.mark.parametrize("call", ["read", "create", "list", "download"])
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AWS_ACCESS_KEY_ID", "hunter2\n", "The value of AWS_ACCESS_KEY_ID has white space at an end, or a control"),
        ("AWS_SECRET_ACCESS_KEY", " hunter2", "The value of AWS_SECRET_ACCESS_KEY has white space at an end"),
        ("AWS_SESSION_TOKEN", "hun\nter2", "The value of AWS_SESSION_TOKEN has white space at an end, or a control"),
        ("AWS_REGION", "us-east-1\n", r"The region of the S3 store is 'us-east-1\\n', from AWS_REGION: give its name"),
        ("AWS_REQUEST_PAYER", "true\n", "can't be used as the environment says: failed to parse .*AWS_REQUEST_PAYER"),
        ("AWS_ENDPOINT_URL", "http://user:hunter2@127.0.0.1:9", "in AWS_ENDPOINT_URL has a user in it"),
        ("AWS_ENDPOINT_URL", "user:hunter2@127.0.0.1:9", "in AWS_ENDPOINT_URL has a user in it"),
        *(
            (
                "AWS_ENDPOINT_URL",
                f"http://{rest}",
                "^The address of the S3 store is 'http://.*', from AWS_ENDPOINT_URL: ",
            )
            for rest in (
                *("", "host:port", "[::1", "[::::]:9", "127.0.0.1:9\n", " 127.0.0.1:9", "127.0.0.1:99999", "/x"),
                *("ho st", "a.1:9", "999.999.999.999", "h\xe9:9", "xn--a:9", "127.0.0.1:9/a b", "127.0.0.1:9?x=1"),
            )
        ),
    ],
)
def test_a_value_that_obstore_would_end_at_is_named_and_no_secret_shown(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, value: str, said: str, call: str
) -> None:
    monkeypatch.setenv(variable, value)
    calls = {**CALLS, "download": lambda place: open_store(place, Access(patience=0.3)).download("x", tmp_path / "x")}
    with pytest.raises(UserError, match=said) as raised:
        calls[call]("s3://bucket")
    assert "hunter2" not in str(raised.value)


def test_a_key_of_a_profile_that_can_be_none_is_named(
    bare: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = hun\n ter2\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", bare.url)
    with pytest.raises(UserError, match="^The value of aws_secret_access_key of the profile default has") as raised:
        open_store("s3://bucket").read("x")
    assert "hun" not in str(raised.value)


@pytest.mark.parametrize("endpoint", ["http://[::1]:9", "http://minio_1.kubeflow:9/s3/", "https://127.0.0.1"])
def test_an_address_of_another_form_is_one_too(s3: S3Server, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    assert job_access(["s3://bucket/x"]).variables["AWS_ENDPOINT_URL"] == endpoint.rstrip("/")


@pytest.mark.parametrize("scheme", ["HTTP", "Http"])
def test_an_address_without_tls_may_have_its_scheme_in_capitals(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    s3.put("bucket", "x", b"text")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url.replace("http", scheme))
    store = open_store("s3://bucket", Access(patience=0.3))
    assert (store.read("x").data, [one.name for one in store.list()]) == (b"text", ["x"])
    s3.faults.add("corrupt", method="GET", match="/x$", times=None)
    with pytest.raises(UserError, match=r"s3://bucket/x came with wrong bytes"):  # without TLS the bytes are compared
        store.read("x")


class _Machine(BaseHTTPRequestHandler):
    """What a machine's own server answers: on AWS 200 with a token, elsewhere another status."""

    status = 200

    def do_PUT(self) -> None:
        right = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self.send_response(self.status if right else 400)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "place", "role"),
    [(200, "s3", True), (404, "s3", False), (200, "minio", False), (200, "endpoint", False)],
)
def test_the_role_of_a_machine_is_asked_for_on_aws_only(
    bare: S3Server, monkeypatch: pytest.MonkeyPatch, status: int, place: str, role: bool
) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")  # of obstore, which is to find no role here
    if place == "endpoint":
        monkeypatch.setenv("AWS_ENDPOINT_URL", bare.url)
    connect = socket.create_connection
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (_Machine,), {"status": status})) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

        def here(address: tuple[str, int], *rest: Any, **more: Any) -> socket.socket:
            return connect(server.server_address if address == ("169.254.169.254", 80) else address, *rest, **more)

        monkeypatch.setattr(socket, "create_connection", here)
        with pytest.raises(UserError) as raised:
            open_store("minio://bucket" if place == "minio" else "s3://bucket", Access(patience=0.1)).read("x")
        server.shutdown()
    assert ("needs credentials and there are none here" in str(raised.value)) != role


CALLS: dict[str, Callable[[str], object]] = {
    "read": lambda place: open_store(place, Access(patience=0.3)).read("x"),
    "stat": lambda place: open_store(place, Access(patience=0.3)).stat("x"),
    "list": lambda place: open_store(place, Access(patience=0.3)).list(),
    "folders": lambda place: open_store(place, Access(patience=0.3)).folders(),
    "write": lambda place: open_store(place, Access(patience=0.3)).write("x", b"1"),
    "create": lambda place: open_store(place, Access(patience=0.3)).write("x", b"1", if_generation=0),
    "delete": lambda place: open_store(place, Access(patience=0.3)).delete("x"),
    "registry": lambda place: Registry(place, Access(patience=0.3)).champion(),
}


@pytest.mark.parametrize(
    "empty",
    [
        *(
            "AWS_ENDPOINT_URL_S3",
            "AWS_ENDPOINT",
            "AWS_SESSION_TOKEN",
            "AWS_REGION",
            "AWS_SKIP_SIGNATURE",
            "AWS_PROFILE",
        ),
        *("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "AWS_REQUEST_PAYER", "AWS_SERVER_SIDE_ENCRYPTION", "AWS_ROLE_ARN"),
        *("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONDITIONAL_PUT"),
    ],
)
def test_a_variable_that_is_set_and_empty_is_none(s3: S3Server, monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    monkeypatch.setenv(empty, "")
    store = open_store("s3://bucket")
    store.write("x", b"hello", if_generation=0)
    assert store.read("x").data == b"hello"


def test_that_the_environment_wants_no_conditions_is_not_heeded(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    store = open_store("s3://bucket")
    store.write("x", b"hello", if_generation=0)
    with pytest.raises(ConflictError):
        store.write("x", b"other", if_generation=0)


class _SignIn(BaseHTTPRequestHandler):
    """What AWS answers to a role that signs in: an error, or keys."""

    status, answer = 403, ""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = self.answer.encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


SIGNED_IN = (
    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>of-role</AccessKeyId>"
    "<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>"
    "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
)


@pytest.fixture
def sign_in(bare: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[_SignIn]]:
    """The service at which a role of a service account signs in, and an environment that has such a role."""
    trustme = pytest.importorskip("trustme")
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("localhost").configure_cert(context)
    answers = type("Answers", (_SignIn,), {})
    (tmp_path / "token").write_text("token")
    with ThreadingHTTPServer(("127.0.0.1", 0), answers) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        variables = {
            "AWS_ENDPOINT_URL": bare.url,
            "AWS_ENDPOINT_URL_STS": f"https://localhost:{server.server_port}",
            "AWS_CA_BUNDLE": str(tmp_path / "ca.pem"),
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
            "AWS_ROLE_ARN": "arn:aws:iam::1:role/reader",
            "AWS_ACCESS_KEY_ID": "",
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield answers
        close_clients()
        server.shutdown()


def test_a_role_of_a_service_account_signs_in_where_its_keys_are_set_and_empty(
    bare: S3Server, sign_in: type[_SignIn]
) -> None:
    sign_in.status, sign_in.answer = 200, SIGNED_IN
    assert open_store("s3://bucket").read("x").data == b"hello"
    assert all("Credential=of-role/" in one for one in bare.authorizations)


@pytest.mark.parametrize("call", ["read", "list", "write"])
@pytest.mark.parametrize(
    ("status", "message"),
    [(403, "Not authorized to perform sts:Assume"), (400, "Token expired"), (404, "no such role")],
)
def test_a_sign_in_that_fails_is_not_taken_for_an_answer_of_the_store(
    sign_in: type[_SignIn], status: int, message: str, call: str
) -> None:
    sign_in.status, sign_in.answer = (
        status,
        f"<ErrorResponse><Error><Message>{message}</Message></Error></ErrorResponse>",
    )
    gave = rf"AWS gave no credentials for AWS_WEB_IDENTITY_TOKEN_FILE \({status}: {message}\)"
    check = "Check whether the role arn:aws:iam::1:role/reader trusts the account of the token in .*/token"
    with pytest.raises(UserError, match=rf"^s3://bucket\S* can't be asked for: {gave}. {check}"):
        CALLS[call]("s3://bucket")


@pytest.mark.parametrize(
    ("forbidden", "call", "right"),
    [
        *(("GET", call, "s3:GetObject on it, or s3:ListBucket on the bucket") for call in ("read", "stat", "delete")),
        *(("LIST", call, "s3:ListBucket on the bucket") for call in ("list", "folders")),
        ("LIST", "registry", "s3:GetObject on it, or s3:ListBucket on the bucket"),
        *(("PUT", call, "s3:PutObject on it") for call in ("write", "create")),
        *(("DELETE", call, "s3:DeleteObject on it") for call in ("delete", "create")),
    ],
)
def test_what_is_forbidden_is_said_with_who_asked_and_the_right(
    s3: S3Server, forbidden: str, call: str, right: str
) -> None:
    s3.put("bucket", "x", b"1")
    s3.create_bucket("bucket", forbidden={forbidden})
    who = r"the account of AWS_ACCESS_KEY_ID lacks the permission"
    with pytest.raises(UserError, match=rf"^s3://bucket\S* is forbidden: {who} {right}"):
        CALLS[call]("s3://bucket")


def test_what_is_not_there_in_a_bucket_that_may_not_be_listed_is_said_with_that_right(s3: S3Server) -> None:
    s3.put("bucket", "x", b"1")
    s3.create_bucket("bucket", forbidden={"LIST"})
    assert open_store("s3://bucket").read("x").data == b"1"
    with pytest.raises(UserError, match="lacks .*or s3:ListBucket on the bucket .needed where there is no object"):
        open_store("s3://bucket").read("y")


def test_a_right_that_the_store_names_is_said(s3: S3Server) -> None:
    said = b"User: me is not authorized to perform: kms:Decrypt on resource: key"  # as AWS writes it
    s3.faults.add("403", body=said)
    with pytest.raises(UserError, match=r"lacks the permission kms:Decrypt\. Grant it"):
        open_store("s3://bucket").read("x")


@pytest.mark.parametrize("call", ["list", "folders", "write", "create"])
def test_a_bucket_that_is_missing_is_said(s3: S3Server, call: str) -> None:
    with pytest.raises(NotFoundError, match=r"^s3://none\S* does not exist: there is no bucket s3://none\.$"):
        CALLS[call]("s3://none")


@pytest.mark.parametrize("call", CALLS)
def test_a_store_out_of_reach_is_said_with_its_address(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    with socket.socket() as closed:  # its port stays taken, and nobody listens
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(UserError, match=rf"^s3://bucket\S* can't be reached: .*{re.escape(address)} \(AWS_END"):
            CALLS[call]("s3://bucket")


@pytest.mark.parametrize("call", CALLS)
def test_a_store_that_stays_down_is_said(s3: S3Server, call: str) -> None:
    s3.put("bucket", "x", b"1")
    s3.faults.add("503", times=None)
    with pytest.raises(UserError, match=r"can't be reached: the store at http\S* answered 503 again and again"):
        CALLS[call]("s3://bucket")


@pytest.mark.parametrize("call", [one for one in CALLS if one != "registry"])
@pytest.mark.parametrize("kind", ["503", "reset"])
def test_a_call_that_fails_for_a_moment_is_made_again(s3: S3Server, call: str, kind: str) -> None:
    if call != "create":
        s3.put("bucket", "x", b"1")
    s3.faults.add(kind, match="^/bucket.*(x$|prefix|list)", times=2)
    store = open_store("s3://bucket", Access(patience=10))
    arguments = {"write": ("x", b"1"), "create": ("x", b"1"), "list": (), "folders": ()}.get(call, ("x",))
    options = {"if_generation": 0} if call == "create" else {}
    getattr(store, {"create": "write"}.get(call, call))(*arguments, **options)
    assert store.exists("x") == (call != "delete")


@pytest.mark.parametrize("call", CALLS)
def test_a_page_that_another_server_answers_with_is_said(s3: S3Server, call: str) -> None:
    s3.faults.add("page", times=None)
    with pytest.raises(UserError, match=r"^s3://bucket"):
        CALLS[call]("s3://bucket")


@pytest.mark.parametrize(
    ("overlooked", "named"),
    [({"if-none-match"}, "If-None-Match"), ({"if-match"}, "If-Match"), ({"if-match", "if-none-match"}, "If-Match")],
)
def test_a_store_that_overlooks_conditions_is_refused_before_anything_is_written(
    s3: S3Server, tmp_path: Path, overlooked: set[str], named: str
) -> None:
    s3.overlooks = overlooked
    with pytest.raises(UserError, match=rf"s3://bucket/registry can't be written safely: .*\({named}.*docs/s3\.md"):
        promote_next(Registry("s3://bucket/registry"), tmp_path, "first")
    assert s3.names("bucket") == []


def test_whether_a_store_keeps_to_conditions_is_tried_once(s3: S3Server) -> None:
    store = open_store("s3://bucket/folder")
    store.write("a", b"1", if_generation=0)
    probes = [path for _, path in s3.requests if ".probe-" in path]
    assert probes
    open_store("s3://bucket/folder").write("b", b"1", if_generation=0)
    assert [path for _, path in s3.requests if ".probe-" in path] == probes
    assert s3.names("bucket") == ["folder/a", "folder/b"]


@pytest.mark.parametrize("kind", ["reset", "lost_reply", "late_504"])
@pytest.mark.parametrize("skip", range(5))
def test_a_connection_that_breaks_in_the_trial_is_tried_again(s3: S3Server, kind: str, skip: int) -> None:
    fault = s3.faults.add(kind, method="PUT", match=r"\.probe-", skip=skip)
    store = open_store("s3://bucket", Access(patience=10))
    store.write("a", b"1", if_generation=0)
    assert (s3.names("bucket"), fault.hits) == (["a"], 1)


@pytest.mark.parametrize("kind", ["reset", "lost_reply", "late_504"])
def test_the_end_of_the_trial_is_tried_again(s3: S3Server, kind: str) -> None:
    fault = s3.faults.add(kind, method="DELETE", match=r"\.probe-")
    open_store("s3://bucket", Access(patience=10)).write("a", b"1", if_generation=0)
    assert (s3.names("bucket"), fault.hits) == (["a"], 1)


@pytest.mark.parametrize("skip", [1, 4])
def test_a_trial_that_fails_leaves_nothing(s3: S3Server, skip: int) -> None:
    s3.faults.add("late_403", method="PUT", match=r"\.probe-", skip=skip)
    with pytest.raises(UserError, match="forbidden"):
        open_store("s3://bucket").write("a", b"1", if_generation=0)
    assert s3.names("bucket") == []


def test_a_probe_that_a_killed_process_left_is_not_seen(s3: S3Server) -> None:
    s3.put("bucket", "registry/.probe-1", b"")
    assert open_store("s3://bucket").list() == []


def test_a_lease_that_is_renewed_with_the_same_words_has_another_generation(s3: S3Server) -> None:
    lease = Lease(open_store("s3://bucket/job"))
    lease.take()
    seen = read_lease(open_store("s3://bucket/job"))
    lease.take()
    again = read_lease(open_store("s3://bucket/job"))
    assert seen[0] == again[0] and seen[1] != again[1]
    assert not Watch(open_store("s3://bucket/job")).look()


def test_a_write_to_an_object_that_was_deleted_meanwhile_is_a_conflict(s3: S3Server) -> None:
    store = open_store("s3://bucket")
    generation = store.write("a", b"1")
    store.delete("a")
    with pytest.raises(ConflictError):
        store.write("a", b"2", if_generation=generation)
    s3.faults.add("404", method="PUT", match="/a$")  # as AWS answers, where moto says 412
    with pytest.raises(ConflictError):
        store.write("a", b"2", if_generation=generation)


def test_a_deletion_asks_the_store_to_look_at_the_generation(s3: S3Server) -> None:
    store = open_store("s3://bucket")
    generation = store.write("a", b"1")
    store.delete("a", if_generation=generation)
    assert [headers.get("if-match") for headers in s3.headers][-1] == f'"{generation}"'


def test_of_a_bucket_with_versions_the_version_that_was_listed_is_the_one_that_comes(
    s3: S3Server, tmp_path: Path
) -> None:
    s3.create_bucket("kept", versioning=True)
    store = open_store("s3://kept")
    store.write("x.csv", b"first")
    (entry,) = store.list()
    assert entry == store.stat("x.csv") and " " in str(entry.generation)
    store.write("x.csv", b"other", if_generation=entry.generation)
    store.download_entry(entry, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"first"


@pytest.mark.parametrize("listed", ["in/", "in", ""])
def test_what_consoles_make_as_folders_is_no_object(s3: S3Server, listed: str) -> None:
    for name, data in (("in/", b""), ("in/sub/", b""), ("in/empty", b""), ("in/a", b"1")):
        s3.put("bucket", name, data)
    assert [entry.name for entry in open_store("s3://bucket").list(listed)] == ["in/a", "in/empty"]


def test_what_has_the_name_of_an_object_and_a_slash_is_no_loss_of_the_object(s3: S3Server) -> None:
    for name, data in (("in/a.csv", b"1"), ("in/a.csv/", b"")):
        s3.put("bucket", name, data)
    assert [entry.name for entry in open_store("s3://bucket").list("in/")] == ["in/a.csv"]


def test_a_large_file_goes_up_in_parts_and_comes_back_checked(s3: S3Server, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(bytes(range(256)) * 80_000)  # 20 MB
    store = open_store("s3://bucket")
    store.upload(tmp_path / "in", "x")
    (entry,) = store.list()
    assert str(entry.generation).endswith("-3") and entry.crc32c
    s3.faults.add("corrupt", method="GET", match="/x$", times=2)
    store.download_entry(entry, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()


def test_bytes_that_are_not_those_of_the_etag_are_asked_for_again_and_then_refused(s3: S3Server) -> None:
    s3.put("bucket", "x", b"hello")
    fault = s3.faults.add("corrupt", method="GET", times=2)
    assert open_store("s3://bucket").read("x").data == b"hello"
    assert fault.hits == 2
    s3.faults.add("corrupt", method="GET", times=None)
    with pytest.raises(UserError, match=r"s3://bucket/x came with wrong bytes 4 times: they don't match .* the ETag"):
        open_store("s3://bucket").read("x")


def test_an_object_of_another_size_than_is_read_at_once_is_refused(s3: S3Server) -> None:
    store = open_store("s3://bucket")
    store.write("x.json", b"12345")
    assert store.read("x.json", limit=5).data == b"12345"
    with pytest.raises(UserError, match=r"s3://bucket/x\.json has more than the 4 bytes"):
        store.read("x.json", limit=4)


def test_connections_can_be_closed(s3: S3Server) -> None:
    store = open_store("s3://bucket")
    store.write("x", b"1")
    close_clients()
    assert store.read("x").data == b"1"
