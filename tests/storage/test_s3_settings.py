"""How an S3 store is found and signed in to: by variables, files, and roles."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kfp_bert_components.errors import ConflictError, UserError
from kfp_bert_components.storage import Access, close_clients, find_objects, job_access, open_store
from tests.support.s3_calls import CALLS
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
        ({"AWS_SHARED_CREDENTIALS_FILE": __file__}, "test_s3_settings.py can't be read as AWS's tools write it: "),
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


@pytest.mark.parametrize("empty", ["AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"])
def test_beside_the_keys_of_a_profile_a_variable_that_is_empty_is_none(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty: str
) -> None:
    names = ("aws_access_key_id", "aws_secret_access_key")
    keys = [f"{name} = {os.environ[name.upper()]}" for name in names]
    (tmp_path / "credentials").write_text("\n".join(["[default]", *keys]))
    for name in names:
        monkeypatch.delenv(name.upper())
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
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
