"""A decision on disk: decision.json."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kfp_bert_components.errors import NotFoundError, UserError

FORMAT = 1


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
            low, high and p_value; without the interval on a first run.
    """

    outcome: str
    reason: str
    decision_id: str
    candidate_fingerprint: str
    champion_version: int | None
    champion_generation: int
    test_fingerprint: str
    difference: dict[str, str | float] = field(default_factory=dict)

    @property
    def promote(self) -> bool:
        """Whether the candidate shall become champion."""
        return self.outcome == "PROMOTE"


def write_decision(decision: Decision, folder: Path) -> None:
    """Write decision.json into the artifact path `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "decision.json").write_text(json.dumps({"format": FORMAT, **asdict(decision)}, indent=2))


def read_decision(folder: Path) -> Decision:
    """Read a decision.

    Raises:
        NotFoundError: There is none in `folder`.
        UserError: Its format is unknown.
    """
    path = folder / "decision.json"
    if not path.exists():
        raise NotFoundError(f"{folder} holds no decision: decision.json is missing.")
    record = json.loads(path.read_text())
    if record.pop("format", None) != FORMAT:
        raise UserError(f"{path} has a format that this version does not know; expected {FORMAT}.")
    return Decision(**record)
