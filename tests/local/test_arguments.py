import math
from datetime import date

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.local.arguments import parse_arguments
from kfp_bert_components.local.pipelines import compile_pipeline


def spec(**parameters):
    return {"root": {"inputDefinitions": {"parameters": parameters}}}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("STRING", "a=b", "a=b"),
        ("STRING", "", ""),
        ("NUMBER_INTEGER", "3", 3),
        ("NUMBER_DOUBLE", "1e-5", 1e-5),
        ("BOOLEAN", "True", True),
        ("BOOLEAN", "no", False),
        ("LIST", '["a", "b"]', ["a", "b"]),
        ("LIST", "gs://bucket/lines.csv", ["gs://bucket/lines.csv"]),
        ("STRUCT", '{"0": "other"}', {"0": "other"}),
    ],
)
def test_a_value_is_read_in_the_type_of_its_parameter(kind, text, value):
    assert parse_arguments(spec(x={"parameterType": kind}), [f"x={text}"]) == {"x": value}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("NUMBER_INTEGER", "3.5"),
        ("NUMBER_DOUBLE", "NaN"),
        ("NUMBER_DOUBLE", "1e999"),
        ("BOOLEAN", "maybe"),
        ("STRUCT", "[1]"),
        ("STRUCT", '{"a": {"b": -Infinity}}'),
        ("LIST", "[1"),
    ],
)
def test_a_value_of_another_type_is_refused_by_the_name_of_its_parameter(kind, text):
    with pytest.raises(UserError, match=r"Parameter 'x' must be"):
        parse_arguments(spec(x={"parameterType": kind}), [f"x={text}"])


@pytest.mark.parametrize(
    ("kind", "value"), [("NUMBER_DOUBLE", math.nan), ("STRUCT", {"since": date(2026, 1, 2)}), ("STRING", 3)]
)
def test_a_value_of_yaml_that_is_of_another_type_is_refused_by_the_name_of_its_parameter(kind, value):
    with pytest.raises(UserError, match=r"Parameter 'x' must be"):
        parse_arguments(spec(x={"parameterType": kind}), [], {"x": value})


@pytest.mark.parametrize(("kind", "text"), [("STRING", "a {{$.inputs}} b"), ("STRUCT", '{"a": ["{{$"]}')])
def test_a_text_that_kfp_would_replace_is_refused(kind, text):
    with pytest.raises(UserError, match=r"Parameter 'x' holds '\{\{\$'"):
        parse_arguments(spec(x={"parameterType": kind}), [f"x={text}"])


def test_a_text_that_begins_as_a_list_is_refused_with_the_list_to_give():
    text = '[draft] "lines".csv'
    with pytest.raises(UserError, match="must be a JSON list, such as ") as refused:
        parse_arguments(spec(x={"parameterType": "LIST"}), [f"x={text}"])
    given = str(refused.value).partition("such as ")[2].partition(", not ")[0]
    assert parse_arguments(spec(x={"parameterType": "LIST"}), [f"x={given}"]) == {"x": [text]}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("STRUCT", '{"skip_rows": 1, "a": 1, "a": 2}'),
        ("STRUCT", '{"label_names": {"a": "x", "a": "y"}}'),
        ("LIST", '[{"b": [{"a": 1, "a": 1}]}]'),
    ],
)
def test_a_key_that_stands_twice_in_an_object_is_refused_at_any_depth(kind, text):
    with pytest.raises(UserError, match=r"^Parameter 'x' has the key 'a' twice in one object: leave one out\.$"):
        parse_arguments(spec(x={"parameterType": kind}), [f"x={text}"])


def test_an_unknown_parameter_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"no parameter 'y'; it has x"):
        parse_arguments(spec(x={"parameterType": "STRING"}), ["y=1"])


def test_a_missing_parameter_is_named_and_an_optional_one_may_be_left_out():
    parameters = spec(x={"parameterType": "STRING"}, y={"parameterType": "STRING", "isOptional": True})
    with pytest.raises(UserError, match=r"needs --param for x\.$"):
        parse_arguments(parameters, [])


@pytest.mark.parametrize(
    ("kind", "end"),
    [("STRING", r"\.$"), ("LIST", r""", or give all values as one JSON list: -p x='\["first", "second"\]'\.$""")],
)
def test_a_parameter_that_is_given_twice_is_refused_by_its_name(kind, end):
    with pytest.raises(UserError, match=rf"^--param x is given twice: leave one out{end}"):
        parse_arguments(spec(x={"parameterType": kind}), ["x=a.csv", "x=b.csv"])


def test_a_parameter_on_the_command_line_wins_over_the_file():
    assert parse_arguments(spec(x={"parameterType": "STRING"}), ["x=a"], {"x": "b"}) == {"x": "a"}


def test_a_word_without_an_equals_sign_is_refused():
    with pytest.raises(UserError, match="name=value"):
        parse_arguments(spec(), ["x"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("delimiter=;", """no parameter 'delimiter'; give delimiter in prepare: prepare='{"delimiter": ";"}'"""),
        ("delimeter=;", """no parameter 'delimeter'; give delimiter in prepare: prepare='{"delimiter": ";"}'"""),
        ("patience=3", """no parameter 'patience'; give patience in training: training='{"patience": 3}'"""),
        (
            "max_slice_drop=0.1",
            "no parameter 'max_slice_drop'; give max_slice_drop in policy: policy='max_slice_drop: 0.1'",
        ),
        ("sorces=a.csv", "no parameter 'sorces'; did you mean 'sources'?"),
    ],
)
def test_a_parameter_of_a_step_is_refused_with_where_to_give_it(given, says):
    names = {"sources": "LIST", "policy": "STRING", "prepare": "STRUCT", "training": "STRUCT"}
    known = spec(**{name: {"parameterType": kind} for name, kind in names.items()})
    with pytest.raises(UserError) as refused:
        parse_arguments(known, [given])
    assert str(refused.value) == f"The pipeline has {says}"


def test_a_slip_in_a_parameter_of_the_pipeline_is_not_taken_for_one_of_a_step(tmp_path):
    spec = compile_pipeline("train_and_deploy", tmp_path / "pipeline.yaml")
    with pytest.raises(UserError, match="has no parameter 'epoch'; did you mean 'epochs'"):
        parse_arguments(spec, ["epoch=3"])
