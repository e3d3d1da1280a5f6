"""A decision on disk: decision.json."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.origin import read_origin
from kfp_bert_components.records import build, check_types, dump_record, load_record

OUTCOMES = ("PROMOTE", "HOLD", "REJECT")
_ROUNDING = 1e-6
# What is read of the parts of a decision, and its types.
_DIFFERENCE = dict.fromkeys(("value", "delta", "candidate", "champion", "p_value", "low", "high"), float | None)
_GUARDRAIL = {"name": str, "passed": bool}
_TEST_SET = {"number": int, "alpha": float, "left": float, "counted": bool, "lineage": int}
_POLICY = dict.fromkeys(("override", "override_by", "override_reason"), str)
FORMAT = 4  # format 1 knows nothing of evaluation_files, format 2 nothing of warnings, and format 3 nothing of origin


@dataclass(frozen=True)
class Decision:
    """The outcome of a comparison.

    Attributes:
        outcome: PROMOTE, HOLD or REJECT.
        reason: One sentence that says why.
        decision_id: Unique to this comparison: by it a promotion that is tried again knows itself.
        candidate_fingerprint: Fingerprint of the candidate's bundle.
        champion_version: Version that it was compared with; None when there was none.
        champion_generation: Generation of the champion pointer that was compared with; 0 when there was none.
        test_fingerprint: Fingerprint of the test split.
        difference: Candidate minus champion on the primary metric, so that positive is better: metric, value,
            low and high (the interval that agrees with the test), confidence of it, p_value, low_95 and high_95,
            candidate, champion (the two values), method, rows, resolvable (the smallest difference that the
            test set shows 4 times in 5), more_rows (to collect; 0 where that would not help). On a first run the
            champion is what knows only how frequent each class is.
            Where the two don't know the same labels, common_labels has the same figures on the labels that both know.
        guardrails: What must not get worse: name, value, limit, p_value, passed, broken.
        test_set: Which use of the test set this is, the alpha it spends, what is left, whether it was counted.
        policy: The rules, as in a policy file; an override with its name and reason is among them.
        gate_outcome: What the gate itself says, also where it was overridden.
        evaluation_files: SHA-256 of every file of the candidate's evaluation; empty where not recorded (format 1).
        warnings: What to look at whatever the outcome is, a sentence each.
        origin: Where it was decided, by the names of `origin.Origin`: its artifacts are the two evaluations.
    """

    outcome: str
    reason: str
    decision_id: str
    candidate_fingerprint: str
    champion_version: int | None
    champion_generation: int | str
    test_fingerprint: str
    difference: dict[str, Any] = field(default_factory=dict)
    guardrails: list[dict[str, Any]] = field(default_factory=list)
    test_set: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    gate_outcome: str = ""
    evaluation_files: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def promote(self) -> bool:
        """Whether the candidate shall become champion."""
        return self.outcome == "PROMOTE"


def write_decision(decision: Decision, folder: Path) -> None:
    """Write decision.json into the artifact path `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "decision.json").write_text(dump_record(asdict(decision), FORMAT), encoding="utf-8")


def read_decision(folder: Path) -> Decision:
    """Read a decision.

    Raises:
        NotFoundError: There is none in `folder`.
        UserError: It is damaged, or of a format that this version does not know.
    """
    from kfp_bert_components.storage import is_there

    path = folder / "decision.json"
    if not is_there(path):
        raise NotFoundError(f"{folder} holds no decision: decision.json is missing.")
    return load_record(
        path.read_bytes(), str(path), dict.fromkeys(range(1, FORMAT + 1), _read), "run compare_models again"
    )


def check_decision(decision: Decision, place: Path) -> None:
    """Raise UserError if a decision contradicts itself; `place` is named in the error."""
    if wrong := _contradiction(decision):
        raise UserError(f"The decision in {place} contradicts itself: {wrong}. Run compare_models again.")


def _contradiction(decision: Decision) -> str:
    """What in a decision contradicts the rest of it, as the end of a sentence; "" if nothing does."""
    outcome, gate = decision.outcome, decision.gate_outcome
    override = decision.policy.get("override", "")
    if outcome not in OUTCOMES:
        return f"its outcome is {outcome!r}, which is none of {', '.join(OUTCOMES)}"
    if override and override != outcome:
        return f"its outcome is {outcome}, but it was decided by hand to {override}"
    if override:
        named = all(decision.policy.get(key, "").strip() for key in ("override_by", "override_reason"))
        return "" if named else "it was decided by hand, but does not say by whom and why"
    if gate and gate != outcome:
        return f"its outcome is {outcome}, but the gate itself says {gate}, and nobody decided by hand"
    if outcome != "PROMOTE":
        return ""
    for one in decision.guardrails:
        if not one.get("passed"):
            return f"its outcome is PROMOTE, but its guardrail {one.get('name')!r} does not hold"
    p_value, alpha = decision.difference.get("p_value"), decision.test_set.get("alpha")
    if p_value is not None and alpha is not None and not p_value <= alpha:
        return f"its outcome is PROMOTE, but its p-value {p_value:.3g} is above its alpha {alpha:.3g}"
    return _contradiction_of_numbers(decision.difference)


def _contradiction_of_numbers(difference: dict[str, Any]) -> str:
    """The same of the numbers of a PROMOTE, as far as they are recorded."""
    names = ("value", "delta", "candidate", "champion")
    value, delta, candidate, champion = (difference.get(name) for name in names)
    if value is None:
        return ""
    if delta is not None and not value > delta:
        return f"its outcome is PROMOTE, but its difference {value:.3g} is not above {delta:.3g}"
    if candidate is None or champion is None:
        return ""
    if not abs(abs(candidate - champion) - value) <= _ROUNDING:  # of some metrics less is better
        return f"its difference is {value:.3g}, but its two values are {candidate:.3g} and {champion:.3g}"
    return ""


def _read(fields: dict[str, Any]) -> Decision:
    decision = build(Decision, fields)
    check_types(decision.difference, _DIFFERENCE)
    check_types(decision.test_set, _TEST_SET)
    check_types(decision.policy, _POLICY)
    for one in decision.guardrails:
        check_types(one, _GUARDRAIL)
    read_origin(decision.origin)
    return decision
