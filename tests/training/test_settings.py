"""Settings are checked when they are made, and each part of training gets its own share of them."""

import math
from dataclasses import asdict, replace

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.training import TrainingSettings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": -1}, "epochs is -1, but it should be greater than or equal to 0."),
        ({"warmup": 1.5}, "warmup is 1.5, but it should be less than or equal to 1."),
        ({"epochs": 1.5}, "epochs is 1.5, but it should be a valid integer, got a number with a fractional part."),
        ({"learning_rate": math.nan}, "learning_rate is nan, but it should be a finite number."),
        ({"truncation": "tail"}, "truncation is 'tail', but it must be one of 'head', 'head_tail'."),
        ({"class_weights": "all"}, "class_weights is 'all', but it must be one of 'none', 'balanced'."),
        ({"precision": "int8"}, "precision is 'int8', but it must be one of 'float32', 'bfloat16'."),
        (
            {"export_precision": "int4"},
            "export_precision is 'int4', but it must be one of 'float32', 'bfloat16', 'int8'.",
        ),
        ({"dropout": -0.5}, "dropout is -0.5, but must be -1 (the checkpoint's own) or between 0 and 0.9."),
        ({"width": 30, "heads": 4}, "width is 30, but must be a multiple of heads, which is 4."),
        ({"epoch": 3}, "epoch is not known: leave it out."),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(settings, message):
    with pytest.raises(UserError) as error:
        TrainingSettings(**settings)
    assert str(error.value) == message
    if "epoch" not in settings:
        with pytest.raises(UserError):
            replace(TrainingSettings(), **settings)


def test_settings_go_through_json_values_unchanged():
    settings = TrainingSettings(base_model="x", epochs=2, dropout=0.1, checkpoint_dir="gs://a/b")
    assert TrainingSettings(**asdict(settings)) == settings


@pytest.mark.parametrize(("base_model", "epochs", "rate"), [("", 10, 1e-3), ("x", 3, 5e-5)])
def test_epochs_and_rate_depend_on_the_start_where_they_are_not_given(base_model, epochs, rate):
    settings = TrainingSettings(base_model=base_model).resolved()
    assert (settings.epochs, settings.learning_rate) == (epochs, rate)
    given = TrainingSettings(base_model=base_model, epochs=7, learning_rate=0.5)
    assert given.resolved() == given


def test_parameters_hold_what_decides_the_weights_and_nothing_else():
    one = TrainingSettings(base_model="x")
    other = replace(
        one,
        checkpoint_dir="a",
        checkpoint_minutes=1.0,
        checkpoint_steps=2,
        tensorboard_dir="b",
        export_precision="bfloat16",
        label_check_rows=100,
        keep_texts="ids",
        base_model_pin="0" * 64,
    )
    assert one.parameters() == other.parameters()
    assert one.parameters()["epochs"] == 3
    assert set(asdict(one)) - set(one.parameters()) == {
        "keep_texts",
        "base_model_pin",
        "checkpoint_dir",
        "checkpoint_minutes",
        "checkpoint_steps",
        "tensorboard_dir",
        "export_precision",
        "label_check_rows",
    }


def test_each_part_gets_its_settings():
    settings = TrainingSettings(
        base_model="x",
        epochs=4,
        learning_rate=0.25,
        batch_size=8,
        accumulation_steps=3,
        warmup=0.5,
        evaluations_per_epoch=2,
        weight_decay=0.3,
        max_gradient_norm=2.0,
        epsilon=1e-5,
        layer_decay=0.9,
        label_smoothing=0.2,
        precision="bfloat16",
    )
    schedule = settings.schedule(rows=50)
    assert (schedule.steps_per_epoch, schedule.steps, schedule.rate(6)) == (3, 12, 0.25)
    assert asdict(settings.optimizer) == {
        "weight_decay": 0.3,
        "epsilon": 1e-5,
        "layer_decay": 0.9,
        "max_gradient_norm": 2.0,
        "label_smoothing": 0.2,
    }
    assert settings.dtype == "mixed_bfloat16" and TrainingSettings().dtype == "float32"
    assert settings.network.dropout is None  # the checkpoint's own
    assert replace(settings, dropout=0.0).network.dropout == 0.0
