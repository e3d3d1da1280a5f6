"""What must be shown before a model is promoted: the rules of the gate, given as parameters or as a YAML file."""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, ModelWrapValidatorHandler, ValidationError, model_validator

from kfp_bert_components.errors import NoBucketError, NotFoundError, UserError
from kfp_bert_components.evaluation.names import CLASS_METRICS, METRICS, is_metric, metric_range
from kfp_bert_components.storage import Store, open_store, parse_address
from kfp_bert_components.validation import Format1, did_you_mean, load_yaml, sentence


def _known_metric(name: str) -> str:
    if not is_metric(name):
        known = ", ".join([*METRICS, *(f"{kind}LABEL" for kind in CLASS_METRICS)])
        raise UserError(f"There is no metric {name!r}; primary_metric and thresholds may name {known}.")
    return name


Metric = Annotated[str, AfterValidator(_known_metric)]
_LARGEST = 1_000_000  # bytes of a file
# A limit of 1 would allow everything.
Share = Annotated[float, Field(ge=0, lt=1)]
# Of two frequent classes, a model that is right in 3 of 4 rows and loses a quarter guesses.
MOST_MARGIN = 0.25
Ratio = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Goal:
    """What must be shown of the primary metric.

    Attributes:
        metric: Its name.
        min_improvement: Gain that must be shown, in the metric's own unit.
        margin: If above 0, it is enough to show that the metric is worse by less than this.
    """

    metric: str
    min_improvement: float = 0.0
    margin: float = 0.0

    @property
    def delta(self) -> float:
        """The true gain that must be exceeded."""
        return -self.margin if self.margin else self.min_improvement


class Policy(BaseModel, frozen=True, extra="forbid", strict=True, allow_inf_nan=False):
    """The rules of the gate. A limit of 0 means: no such rule.

    Raises:
        UserError: A value is of another type or out of range, or two values contradict each other.
    """

    format: Format1 = Field(default=1, exclude=True, description="Format of the policy file.")
    primary_metric: Metric = Field(
        default="macro_f1", description="Metric that must improve: accuracy, macro_f1, mcc, log_loss, f1:LABEL ..."
    )
    min_improvement: Share = Field(
        default=0.0, description="Gain of the primary metric that must be shown, in its own unit."
    )
    alpha: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="Probability of promoting a model that is no better; a registry's count of uses of the test set "
        "spends it.",
    )
    margin: float = Field(
        default=0.0,
        ge=0,
        lt=MOST_MARGIN,
        description="If above 0, it is enough to show that the primary metric is worse by less than this; 0.25 or more "
        "would allow nearly any loss.",
    )
    max_class_drop: Share = Field(default=0.0, description="Guardrail: F1 of no class may fall by this much.")
    max_slice_drop: Share = Field(default=0.0, description="Guardrail: accuracy of no slice may fall by this much.")
    min_rows: int = Field(
        default=50,
        ge=1,
        description="Classes and slices with fewer test rows have no guardrail. Where rows are copies of a text or "
        "belong to groups, only the number of independent rows that they are worth counts.",
    )
    max_negative_flips: Share = Field(
        default=0.0, description="Guardrail: share of rows that were right and are wrong now."
    )
    max_calibration_rise: Share = Field(default=0.0, description="Guardrail: rise of the expected calibration error.")
    max_latency_ratio: Ratio = Field(
        default=0.0, description="Guardrail: 95th percentile of latency, candidate over champion."
    )
    max_size_ratio: Ratio = Field(default=0.0, description="Guardrail: size of the model, candidate over champion.")
    thresholds: dict[Metric, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default={},
        description="For a first run, the least value of each named metric; for log_loss, brier and ece the greatest.",
    )
    on_data_alarm: Literal["hold", "warn"] = Field(
        default="hold",
        description="Where the new labels disagree with the champion, and the candidate does not reach either what the "
        "champion reached when it was promoted: hold makes the outcome HOLD, warn only says it.",
    )
    require_all_classes: bool = Field(
        default=True,
        description="Hold back a first model that has a class with 20 test rows or more and F1 0.",
    )
    allow_new_labels: bool = Field(
        default=False,
        description="Compare with a champion that knows few of the candidate's labels too; then the goal must also be "
        "shown on the labels that both know.",
    )
    override: Literal["", "PROMOTE", "HOLD"] = Field(
        default="", description="PROMOTE or HOLD decides by hand; empty leaves it to the gate."
    )
    override_by: str = Field(default="", description="Who decides by hand.")
    override_reason: str = Field(default="", description="Why.")

    @property
    def goal(self) -> Goal:
        """What must be shown of the primary metric."""
        return Goal(self.primary_metric, self.min_improvement, self.margin)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as in the YAML file."""
        return self.model_dump()

    @model_validator(mode="wrap")
    @classmethod
    def _in_plain_words(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            raise UserError(_unknown_rule(error) or sentence(error)) from None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.margin and self.min_improvement:
            raise UserError("margin allows the candidate to be worse and min_improvement asks for more: give one.")
        given = [any(map(str.isalnum, text)) for text in (self.override, self.override_by, self.override_reason)]
        if any((self.override, self.override_by, self.override_reason)) and not all(given):
            raise UserError(
                "An override needs all of override, override_by (a name) and override_reason, none of them blank."
            )
        for name, value in self.thresholds.items():
            least, most = metric_range(name)
            if not least <= value <= most:
                raise UserError(f"thresholds.{name} is {value:g}, but {name} lies between {least:g} and {most:.4g}.")
        return self


def policy_from(given: str, base: Policy | None = None) -> Policy:
    """The policy that a parameter gives, as text or as the address of a file.

    Args:
        given: YAML text, or one line with the address of the file, gs://, s3:// or local.
        base: Values for the keys that the policy does not name; by default those of `Policy()`.

    Raises:
        NotFoundError: The file is missing.
        UserError: It is no YAML mapping, or a key or value is not in the schema.
    """
    return read_policy(given.strip(), base) if is_policy_file(given) else parse_policy(given, base)


def is_policy_file(given: str) -> bool:
    """Whether a policy parameter is the address of a file.

    It is one where it is a single line that does not begin as a policy does: with a brace, a comment, or a name and a
    colon. A line that ends with .yaml or .yml begins so only with a comment or the name of a rule.
    """
    line = given.lstrip("\ufeff").strip()
    begins = re.match(r"""#|\{|---\s|["']?(?P<name>\w+)["']?\s*:(\s|$)""", line)
    if not line or "\n" in line or line.startswith("#"):
        return False
    if begins and line.endswith((".yaml", ".yml")):
        return begins["name"] not in Policy.model_fields
    return not begins


def read_policy(place: str | Path, base: Policy | None = None) -> Policy:
    """Read a YAML policy file.

    Args:
        place: The file, on gs:// or on this machine.
        base: Values of what the file does not name; by default those of `Policy()`.

    Raises:
        NotFoundError: The file is missing.
        UserError: It is no YAML mapping, or a key or value is not in the schema.
    """
    folder, name = parse_address(place, "policy").split()
    store = open_store(folder, parameter="policy")
    try:
        text = store.read(name, limit=_LARGEST).data.decode()
    except NoBucketError:
        raise
    except NotFoundError:
        if _holds_files(store, name):
            raise NotFoundError(f"The policy {place} is a folder: give the address of a file in it.") from None
        raise NotFoundError(f"The policy file {place} does not exist{_hint(str(place))}.") from None
    except UserError as error:
        raise UserError(f"The policy file {place} can't be read: {error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"The policy file {place} is no text in UTF-8 ({error}): save it as one.") from None
    return parse_policy(text, base, str(place))


def parse_policy(text: str, base: Policy | None = None, place: str = "policy") -> Policy:
    """Like `read_policy`, from the text of the file; `place` names it in errors."""
    try:
        values = load_yaml(text)
    except UserError as error:
        raise UserError(f"{place}{error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{place} must be a mapping of names to values, such as: alpha: 0.05.")
    known = base.as_dict() if base else {}
    try:
        return Policy(**known | {str(key): value for key, value in values.items()})
    except UserError as error:
        raise UserError(f"{place}: {error}") from None


def _holds_files(store: Store, name: str) -> bool:
    """Whether a name is that of a folder, as far as the account may list."""
    with suppress(UserError):
        return bool(store.list(f"{name}/", checksums=False))
    return False


def _hint(place: str) -> str:
    """What may have been meant by what is no file: a rule, no policy, or an address with a comment."""
    if (name := re.match(r"\w+(?=[\s:=]|$)", place)) and name[0] in Policy.model_fields:
        return " (a rule is written 'alpha: 0.01')"
    if place.lower() in ("null", "none", "~"):
        return " (for no policy, give an empty text)"
    return " (an address has no comment)" if " #" in place else ""


def policy_schema() -> dict[str, Any]:
    """The JSON schema of a policy file."""
    return Policy.model_json_schema()


def _unknown_rule(error: ValidationError) -> str:
    """What to say of a key that no rule has; "" where the first fault is another one."""
    fault = error.errors(include_url=False)[0]
    if fault["type"] != "extra_forbidden":
        return ""
    key = str(fault["loc"][0])
    return f"There is no rule {key!r}; {did_you_mean(key, Policy.model_fields)}"
