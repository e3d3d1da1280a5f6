"""What must be shown before a model is promoted: parameters, or a YAML file."""

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import NotFoundError, UserError

METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "weighted_f1": "weighted F1",
    "weighted_precision": "weighted precision",
    "weighted_recall": "weighted recall",
    "mcc": "Matthews correlation",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
}
CLASS_METRICS = ("f1:", "precision:", "recall:")


@dataclass(frozen=True)
class Policy:
    """The rules of the gate. A limit of 0 means: no such rule.

    Attributes:
        primary_metric: One of METRICS, or f1:LABEL, precision:LABEL or recall:LABEL.
        min_improvement: Gain of the primary metric that must be shown, in its own unit, from 0.
        margin: If above 0, it is enough to show that the primary metric is worse by less than this.
        alpha: Probability of promoting a model that is no better, above 0 and below 0.5; the registry's count of
            uses of the test set spends it.
        max_class_drop: Guardrail: F1 of no class may fall by this much.
        max_slice_drop: Guardrail: accuracy of no slice may fall by this much.
        min_rows: Classes and slices with fewer test rows have no guardrail.
        max_negative_flips: Guardrail: share of rows that were right and are wrong now.
        max_calibration_rise: Guardrail: rise of the expected calibration error.
        max_latency_ratio: Guardrail: 95th percentile of latency, candidate over champion.
        max_size_ratio: Guardrail: size of the model, candidate over champion.
        thresholds: For a first run, least value of each named metric (greatest for log_loss, brier and ece).
        override: PROMOTE or HOLD by hand; "" leaves it to the gate.
        override_by: Who says so.
        override_reason: Why.

    Raises:
        UserError: A value is out of range.
    """

    primary_metric: str = "macro_f1"
    min_improvement: float = 0.0
    alpha: float = 0.05
    margin: float = 0.0
    max_class_drop: float = 0.0
    max_slice_drop: float = 0.0
    min_rows: int = 50
    max_negative_flips: float = 0.0
    max_calibration_rise: float = 0.0
    max_latency_ratio: float = 0.0
    max_size_ratio: float = 0.0
    thresholds: dict[str, float] = field(default_factory=dict)
    override: str = ""
    override_by: str = ""
    override_reason: str = ""

    def __post_init__(self) -> None:
        for name, rule in _PROPERTIES.items():
            _check(name, getattr(self, name), rule)
        for metric in (self.primary_metric, *self.thresholds):
            if metric not in METRICS and not metric.startswith(CLASS_METRICS):
                known = ", ".join([*METRICS, *(f"{kind}LABEL" for kind in CLASS_METRICS)])
                raise UserError(f"primary_metric and thresholds know {known}; not {metric!r}.")
        if self.margin and self.min_improvement:
            raise UserError("margin allows the candidate to be worse and min_improvement asks for more: give one.")
        if bool(self.override) != bool(self.override_by and self.override_reason):
            raise UserError("An override needs all of override, override_by (a name) and override_reason.")

    @property
    def delta(self) -> float:
        """The true gain that must be exceeded."""
        return -self.margin if self.margin else self.min_improvement

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as in the YAML file."""
        return asdict(self)


def read_policy(path: Path, base: Policy | None = None) -> Policy:
    """Read a YAML policy file; what it does not name stays as in `base`.

    Raises:
        NotFoundError: The file is missing.
        UserError: It is no YAML mapping, or a key or value is not in the schema.
    """
    try:
        return parse_policy(Path(path).read_text(encoding="utf-8"), base, str(path))
    except FileNotFoundError:
        raise NotFoundError(f"The policy file {path} does not exist.") from None


def parse_policy(text: str, base: Policy | None = None, where: str = "policy") -> Policy:
    """Like `read_policy`, from the text of the file."""
    import yaml

    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{where} is no YAML: {str(error).splitlines()[0]}.") from None
    if not isinstance(values, dict):
        raise UserError(f"{where} must be a mapping of names to values, such as: alpha: 0.05.")
    if values.pop("format", 1) != 1:
        raise UserError(f"{where} has a format that this version does not know; expected 1.")
    unknown = sorted(map(str, set(values) - set(_PROPERTIES)))
    if unknown:
        raise UserError(f"{where} has the key {unknown[0]!r}; known are {', '.join(_PROPERTIES)}.")
    for name, value in values.items():
        _check(name, value, _PROPERTIES[name])
    return replace(base or Policy(), **values)


def _range(low: float, high: float | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "number", "minimum": low, **({} if high is None else {"maximum": high}), **more}


_PROPERTIES: dict[str, dict[str, Any]] = {
    "primary_metric": {"type": "string"},
    "min_improvement": _range(0, 1),
    "alpha": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
    "margin": _range(0, 1),
    "max_class_drop": _range(0, 1),
    "max_slice_drop": _range(0, 1),
    "min_rows": {"type": "integer", "minimum": 1},
    "max_negative_flips": _range(0, 1),
    "max_calibration_rise": _range(0, 1),
    "max_latency_ratio": _range(0),
    "max_size_ratio": _range(0),
    "thresholds": {"type": "object", "additionalProperties": {"type": "number"}},
    "override": {"enum": ["", "PROMOTE", "HOLD"]},
    "override_by": {"type": "string"},
    "override_reason": {"type": "string"},
}
# JSON schema of the policy file; also what the parameters are checked by.
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Policy of compare_models",
    "type": "object",
    "properties": {"format": {"const": 1}, **_PROPERTIES},
    "additionalProperties": False,
}


def _check(name: str, value: Any, rule: dict[str, Any]) -> None:
    """The part of JSON schema that SCHEMA uses, with errors in plain words."""
    if "enum" in rule:
        if value not in rule["enum"]:
            raise UserError(f"{name} must be one of {', '.join(map(repr, rule['enum']))}, not {value!r}.")
        return
    kinds = {"string": str, "integer": int, "number": (int, float), "object": dict}
    if not isinstance(value, kinds[rule["type"]]) or isinstance(value, bool):  # type: ignore[arg-type]
        raise UserError(f"{name} must be of type {rule['type']}, not {value!r}.")
    if rule["type"] == "object":
        for key, one in value.items():
            _check(f"{name}.{key}", one, rule["additionalProperties"])
    if rule["type"] not in ("integer", "number"):
        return
    bad = not (value == value and abs(value) != float("inf"))
    bad |= value < rule.get("minimum", value) or value > rule.get("maximum", value)
    bad |= value <= rule.get("exclusiveMinimum", value - 1) or value >= rule.get("exclusiveMaximum", value + 1)
    if bad:
        above, below = rule.get("exclusiveMinimum"), rule.get("exclusiveMaximum")
        low = f"above {above}" if above is not None else f"at least {rule['minimum']}"
        most = f" and at most {rule['maximum']}" if "maximum" in rule else ""
        high = f" and below {below}" if below is not None else most
        raise UserError(f"{name} must be {low}{high}, not {value!r}.")


assert {one.name for one in fields(Policy)} == set(_PROPERTIES)
