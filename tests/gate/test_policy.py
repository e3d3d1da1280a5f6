"""The gate's policy: from YAML and parameters, with an error of one sentence for each fault."""

import pytest

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.gate import Policy, is_policy_file, parse_policy, policy_from, policy_schema, read_policy
from tests.support.gcs_server import GcsServer


def test_a_file_wins_over_the_parameters_and_leaves_the_rest(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("format: 1\nprimary_metric: mcc\nmax_class_drop: 0.02\nthresholds: {accuracy: 0.7, f1:spam: 1}\n")
    assert read_policy(path, Policy(alpha=0.01, primary_metric="accuracy")) == Policy(
        primary_metric="mcc", alpha=0.01, max_class_drop=0.02, thresholds={"accuracy": 0.7, "f1:spam": 1.0}
    )
    assert parse_policy("") == parse_policy("# nothing") == Policy()
    with pytest.raises(NotFoundError, match=r"none\.yaml does not exist"):
        read_policy(tmp_path / "none.yaml")


def test_a_parameter_takes_the_text_or_the_address_of_a_file(tmp_path, monkeypatch):
    text = "max_class_drop: 0.02\nalpha: 0.01\n"
    (tmp_path / "my policy.yaml").write_text(text)
    wanted = Policy(max_class_drop=0.02, alpha=0.01, primary_metric="mcc")
    base = Policy(primary_metric="mcc")
    monkeypatch.chdir(tmp_path)
    with GcsServer() as server:
        server.put("bucket", "gate/policy.yaml", text.encode())
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        for given in (
            "gs://bucket/gate/policy.yaml",
            " gs://bucket/gate/policy.yaml\n",
            str(tmp_path / "my policy.yaml"),
            (tmp_path / "my policy.yaml").as_uri(),
            "my policy.yaml",
        ):
            assert is_policy_file(given)
            assert policy_from(given, base) == wanted, given
        for given in (text, "{max_class_drop: 0.02, alpha: 0.01}", '{"max_class_drop": 0.02, "alpha": 1e-2}'):
            assert not is_policy_file(given)
            assert policy_from(given, base) == wanted, given
        with pytest.raises(NotFoundError, match=r"The policy file gs://bucket/none\.yaml does not exist"):
            policy_from("gs://bucket/none.yaml")
        with pytest.raises(NotFoundError, match="The policy gs://bucket/gate is a folder: give the address of a file"):
            read_policy("gs://bucket/gate")
        with pytest.raises(UserError, match=f"{tmp_path} is a folder, not a file"):
            read_policy(tmp_path)
        with pytest.raises(NotFoundError, match=r"policy\.yaml does not exist: there is no bucket gs://other"):
            policy_from("gs://other/policy.yaml")
    assert policy_from("", base) == policy_from("# nothing", base) == base
    (tmp_path / "bad.yaml").write_text("alfa: 0.05")
    with pytest.raises(UserError, match=r"bad\.yaml: There is no rule 'alfa'; did you mean 'alpha'\?"):
        policy_from("bad.yaml")


@pytest.mark.parametrize(
    "name", ["a: b/p.yaml", "my: p.yml", "[x].yaml", "{x}.yaml", "@p.yaml", "2024", "null", "p # c"]
)
def test_a_file_may_have_a_name_that_means_something_in_yaml(tmp_path, monkeypatch, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("alpha: 0.01")
    monkeypatch.chdir(tmp_path)
    for given in (name, f" {name}\n", str(tmp_path / name)):
        assert policy_from(given) == Policy(alpha=0.01), given


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("alpha=0.01", " (a rule is written 'alpha: 0.01')."),
        ("alpha:0.01", " (a rule is written 'alpha: 0.01')."),
        ("alpha 0.01", " (a rule is written 'alpha: 0.01')."),
        ("margin", " (a rule is written 'alpha: 0.01')."),
        ("null", " (for no policy, give an empty text)."),
        ("p.yaml # c", " (an address has no comment)."),
        ("alpha.yaml", "."),
        ("alpha/p.yaml", "."),
        ("2024", "."),
    ],
)
def test_what_is_no_file_may_be_a_slip(tmp_path, monkeypatch, given, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError) as raised:
        policy_from(given)
    assert str(raised.value) == f"The policy file {given} does not exist{says}"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("alfa: 0.05", "There is no rule 'alfa'; did you mean 'alpha'?"),
        ("'alfa' : 0.05", "There is no rule 'alfa'"),
        ("alpha: p.yaml", "alpha is 'p.yaml', but it should be a valid number"),
        ("{alpha: 0.05", "policy is no YAML"),
        ("--- {alfa: 1}", "There is no rule 'alfa'"),
        ("\ufeffalfa: 1", "There is no rule 'alfa'"),
        ("{a: " + "[" * 3000, "policy has too many brackets or levels inside one another to be read."),
        ("format: true", "format is True, but it should be 1."),
    ],
)
def test_a_line_of_rules_is_no_address(tmp_path, monkeypatch, given, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        policy_from(given)
    assert says in str(raised.value)


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path, monkeypatch):
    (tmp_path / "large.yaml").write_text("alpha: 0.01\n" + "#" * 1_000_000)
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    with GcsServer() as server:
        server.put("bucket", "large.yaml", (tmp_path / "large.yaml").read_bytes())
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        for given in (tmp_path / "large.yaml", "gs://bucket/large.yaml", tmp_path / "endless.yaml"):
            with pytest.raises(UserError, match=r"can't be read: .* more than the 1,000,000 bytes that are read"):
                read_policy(given)
    (tmp_path / "large.yaml").write_text("alpha: 0.01\n" + "#" * 999_988)
    assert read_policy(tmp_path / "large.yaml") == Policy(alpha=0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alfa: 0.05", "policy: There is no rule 'alfa'; did you mean 'alpha'?"),
        ("color: red", "There is no rule 'color'; there are format, primary_metric"),
        ("alpha: high", "policy: alpha is 'high', but it should be a valid number."),
        ("alpha: true", "alpha is True, but it should be a valid number"),
        ("alpha: 0.5", "alpha is 0.5, but it should be less than 0.5"),
        ("margin: 0.1\nalpha: 1:30", "policy has '1:30' in line 2, which is no plain number: write one such as 0.05."),
        ("thresholds: {mcc: 0:30.5}", "policy has '0:30.5' in line 1, which is no plain number"),
        ("alpha: 0.05\nmin_rows: 010", "policy has '010' in line 2: write the number without a 0 at its start."),
        ("format: 01", "policy has '01' in line 1"),
        ("alpha: 0", "alpha is 0, but it should be greater than 0"),
        ("alpha: .nan", "alpha is nan, but it should be a finite number"),
        ("margin: -0.1", "margin is -0.1, but it should be greater than or equal to 0"),
        ("max_class_drop: 3", "max_class_drop is 3, but it should be less than 1"),
        ("margin: 1", "margin is 1, but it should be less than 0.25"),
        ("margin: 0.999", "margin is 0.999, but it should be less than 0.25"),
        ("margin: 0.25", "margin is 0.25, but it should be less than 0.25"),
        ('{"thresholds": {"mcc": 0.5, "mcc": 0.6}}', "policy has 'mcc' twice, in line 1 again: leave one out."),
        ("min_improvement: 1", "min_improvement is 1, but it should be less than 1"),
        ("max_negative_flips: 1", "max_negative_flips is 1, but it should be less than 1"),
        ("thresholds: {accuracy: .nan}", "thresholds.accuracy is nan, but it should be a finite number"),
        ("thresholds: {accuracy: 70}", "thresholds.accuracy is 70, but accuracy lies between 0 and 1"),
        ("thresholds: {mcc: -2}", "thresholds.mcc is -2, but mcc lies between -1 and 1"),
        ("thresholds: {log_loss: 17}", "thresholds.log_loss is 17, but log_loss lies between 0 and 16.12"),
        ("thresholds: {accuracy: true}", "thresholds.accuracy is True, but it should be a valid number"),
        ("thresholds: {accuracy: {least: 1}}", "thresholds.accuracy is {'least': 1}, but it should be a valid number"),
        ("thresholds: {'f1:': 0.2}", "There is no metric 'f1:'"),
        ("{override: HOLD, override_by: ' ', override_reason: x}", "none of them blank"),
        ("{override: HOLD, override_by: ann, override_reason: '-'}", "none of them blank"),
        ("override_by: ann", "An override needs all of override, override_by"),
        ("alpha: 0.01\nmargin: 0.1\nalpha: 0.2", "policy has 'alpha' twice, in line 3 again: leave one out."),
        ("thresholds:\n  mcc: 0.5\n  mcc: 0.6", "policy has 'mcc' twice, in line 3 again: leave one out."),
        ("0", "must be a mapping of names to values"),
        ("[]", "must be a mapping of names to values"),
        (
            "thresholds:\n\tmcc: 1",
            "policy is no YAML: line 2: found character '\\t' that cannot start any token",
        ),
        ("require_all_classes: 1", "require_all_classes is 1, but it should be a valid boolean"),
        ("alpha: 0.1\n---\nalpha: 0.2", "policy is no YAML: line 2: but found another document"),
        ("min_rows: 0.5", "min_rows is 0.5, but it should be a valid integer"),
        ("max_size_ratio: .inf", "max_size_ratio is inf, but it should be a finite number"),
        ("override: MAYBE", "override is 'MAYBE', but it should be '', 'PROMOTE' or 'HOLD'"),
        ("override: HOLD", "An override needs all of override, override_by"),
        ("{margin: 0.1, min_improvement: 0.1}", "give one"),
        ("format: 2", "format is 2, but it should be 1"),
        ("primary_metric: f2", "There is no metric 'f2'; primary_metric and thresholds may name accuracy"),
        ("thresholds: {f2: 0.1}", "There is no metric 'f2'"),
        ("thresholds: {accuracy: x}", "thresholds.accuracy is 'x', but it should be a valid number"),
        ("- a", "must be a mapping of names to values"),
        ("a: [", "policy is no YAML: line 1: expected the node content, but found '<stream end>'."),
    ],
)
def test_a_fault_is_named(text, message):
    with pytest.raises(UserError) as raised:
        parse_policy(text)
    assert message in str(raised.value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "policy.yaml").write_bytes(b"alpha: \xff")
    with pytest.raises(UserError, match=r"is no text in UTF-8 \(.*\): save it as one\.$"):
        read_policy(tmp_path / "policy.yaml")
    with pytest.raises(UserError, match=r"can't be read: .* is a folder"):
        read_policy(tmp_path)


@pytest.mark.parametrize("written", ["1e-3", "1E-3", "1.e-3", "0.1e-2", "+.1e-2", "1.0e-3"])
def test_a_number_may_have_an_exponent_without_a_point(written):
    assert parse_policy(f"alpha: {written}").alpha == 0.001


def test_parameters_are_checked_like_the_file():
    with pytest.raises(UserError, match=r"^alpha is 0\.7, but it should be less than 0\.5\.$"):
        Policy(alpha=0.7)


def test_the_schema_of_the_file_has_every_rule_with_a_description():
    schema = policy_schema()
    assert schema["additionalProperties"] is False
    assert {*Policy().as_dict(), "format"} == set(schema["properties"])
    assert all(one["description"] for one in schema["properties"].values())
    assert schema["properties"]["alpha"]["exclusiveMaximum"] == 0.5
