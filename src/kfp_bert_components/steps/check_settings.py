"""Settings of later steps, checked by the first one: a run with a mistake in them fails in seconds, not in hours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from kfp_bert_components.errors import UserError
from kfp_bert_components.validation import check_values, one_of, types_of, with_further

# What training and jobs can be told, but no parameter of the step says.
_NO_PARAMETERS = {"base_model_pin", "epsilon", "checkpoint_steps", "job_run", "job_poll_seconds", "job_stuck_seconds"}


def check_settings(
    prepare: Mapping[str, Any],
    training: Mapping[str, Any],
    gate: Mapping[str, Any],
    policy: str = "",
    mirror_to: Sequence[str] = (),
    registry: str = "",
    evidence_by: str = "text",
) -> None:
    """Check what `prepare_text_data`, `finetune_bert` and the steps after them would refuse.

    Of the first two it is their further settings, each for itself: what depends on several of them, or on parameters
    that are not among them, is left to the step.

    Args:
        prepare: Further settings of `prepare_text_data`.
        training: Further settings of `finetune_bert`.
        gate: Parameters of `compare_models`, by name.
        policy: Its policy: the text, or the address of a file, which is read; "" for none.
        mirror_to: Addresses of mirrors, as in `promote_model`.
        registry: Address of the registry.
        evidence_by: Parameter of `evaluate_model`: text, row, or a column that `prepare` makes the splits keep.

    Raises:
        UserError: A step would refuse a value, or knows no such setting.
    """
    from kfp_bert_components.data.settings import OWN_COLUMNS
    from kfp_bert_components.evaluation.records import check_evidence_by
    from kfp_bert_components.gate import Policy, policy_from
    from kfp_bert_components.mirrors import parse_mirrors

    with _said_of("prepare_text_data"):
        _check_further(prepare, settings_of_preparing())
    with _said_of("finetune_bert"):
        _check_further(training, settings_of_training())
    with _said_of("evaluate_model"):
        check_evidence_by(evidence_by, [*OWN_COLUMNS, *prepare.get("metadata_columns", [])])
    with _said_of("compare_models"):
        policy_from(policy, Policy(**gate))
    with _said_of("promote_model"):
        parse_mirrors(mirror_to, registry)


def settings_of_preparing() -> dict[str, Any]:
    """The types of the further settings of `prepare_text_data`, by name."""
    from kfp_bert_components.data.settings import PrepareSettings

    return types_of(PrepareSettings)


def settings_of_training() -> dict[str, Any]:
    """The types of the further settings of `finetune_bert`, by name."""
    from kfp_bert_components.ai_platform.settings import JobSettings
    from kfp_bert_components.training import TrainingSettings
    from kfp_bert_components.trainjob.settings import TrainJobSettings

    job = {f"job_{name}": kind for one in (TrainJobSettings, JobSettings) for name, kind in types_of(one).items()}
    own = {"registry": str, "run_on": Annotated[str, one_of("pod", "ai_platform", "kubeflow")]}
    found = types_of(TrainingSettings) | job | own
    return {name: kind for name, kind in found.items() if name not in _NO_PARAMETERS}


def _check_further(further: Mapping[str, Any], types: Mapping[str, Any]) -> None:
    with_further(further, **types)
    check_values(types, further)


@contextmanager
def _said_of(step: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{step} would refuse its settings: {error}") from None
