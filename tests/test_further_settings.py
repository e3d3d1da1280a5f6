"""The dictionary by which a pipeline reaches the parameters of a step that it has no parameter for."""

import inspect

import pytest

import kfp_bert_components as package
from kfp_bert_components.errors import UserError
from kfp_bert_components.validation import with_further


def test_what_it_names_wins():
    assert with_further({"b": 3}, a=1, b=2) == {"a": 1, "b": 3}


def test_a_name_that_is_no_parameter_is_refused_with_the_nearest_one():
    with pytest.raises(UserError, match="name 'delimeter', which is no parameter of this step; did you mean 'delimi"):
        with_further({"delimeter": ";"}, delimiter="auto", header="auto")


def test_where_no_name_is_near_all_are_listed():
    with pytest.raises(UserError, match=r"there are delimiter, header\."):
        with_further({"xyz": ";"}, delimiter="auto", header="auto")


@pytest.mark.parametrize("name", ["prepare_text_data", "finetune_bert", "batch_predict"])
def test_a_step_hands_over_every_parameter_that_it_has(name):
    component = getattr(package, name)
    source = inspect.getsource(component.python_func)
    others = {"data", "train", "validation", "settings", "table", "model", "model_uri", "output"}
    for parameter in component.component_spec.inputs.keys() - others:
        assert f"{parameter}={parameter}," in source
