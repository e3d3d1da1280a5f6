"""Whatever is sent, it is either read or refused with a sentence."""

import json

from hypothesis import given
from hypothesis import strategies as st

from kfp_bert_components.errors import UserError
from kfp_bert_components.serving import Limits
from kfp_bert_components.serving.instances import parse

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
