"""Whatever is sent, it is either read or refused with a sentence."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_bert_components.errors import UserError
from kfp_bert_components.serving import Limits, open_inference
from kfp_bert_components.serving.instances import parse, parse_examples

LIMITS = Limits(instances=5, characters=30)
values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["text", "text_pair", "x"]), inner),
    max_leaves=8,
)


def check(body, inputs):
    try:
        found = parse(body, inputs, LIMITS).instances
    except UserError as error:
        assert str(error).endswith((".", "}", ")", '"', "]")) or "not JSON" in str(error)
        return
    assert 0 < len(found) <= 5
    for one in found:
        assert set(one) == set(inputs)
        assert all(isinstance(text, str) and len(text) <= 30 for text in one.values())


@given(st.binary(max_size=200))
def test_any_bytes(body):
    check(body, ("text",))


@given(values, st.sampled_from([("text",), ("text", "text_pair")]))
def test_any_json(value, inputs):
    check(json.dumps(value).encode(), inputs)
    check(json.dumps({"instances": value}).encode(), inputs)
    check(json.dumps({"instances": [value]}).encode(), inputs)


def count_values(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(count_values, inner))


@given(values)
def test_a_body_with_too_many_values_is_refused_before_it_is_read(value):
    limits = Limits(instances=1)
    many = [value] * (limits.values // count_values(value) + 1)
    for body in ({"instances": many}, {"instances": [dict.fromkeys(map(str, range(len(many))), value)]}):
        with pytest.raises(UserError, match="more than 100 values: send at most 1 texts"):
            parse(json.dumps(body).encode(), ("text",), limits)


@given(st.text(alphabet=',:[{"\\a', min_size=90, max_size=500))
def test_what_stands_in_a_text_is_no_value(text):
    body = json.dumps({"instances": [text]}).encode()
    assert parse(body, ("text",), Limits(instances=1)).instances == [{"text": text}]


@pytest.mark.parametrize("inner", [b"[],", b'"",', b"[" * 900 + b"]" * 900 + b","])
def test_millions_of_values_take_no_memory(inner):
    body = b'{"instances": [' + inner * (1_500_000 // len(inner)) + b"1]}"
    tracemalloc.start()
    with pytest.raises(UserError, match="more than 102400 values"):
        parse(body, ("text",), Limits())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_binary_texts_are_counted_as_they_are_read():
    size = 400_000
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor]}).encode()
    body = head + bytes(size)
    tracemalloc.start()
    with pytest.raises(UserError, match="more entries than 1024: send at most so many"):
        open_inference.parse(body, str(len(head)), ("text",), Limits(), {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 2


def test_what_examples_have_in_common_is_looked_at_once():
    body = json.dumps({"context": {"text": "a", "other": 1}, "examples": [{}]}).encode()
    with pytest.raises(UserError, match="\"context\" has an unknown field 'other': it takes text"):
        parse_examples(body, ("text",), Limits())
