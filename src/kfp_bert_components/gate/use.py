"""A use of a test set: how much of alpha a comparison may spend on it, and which of its rows decide.

The texts that a decision was made on are a lineage, which has one budget: its use number k spends alpha / (k (k + 1)),
and the sum over all k is alpha. By the union bound at least one false promotion in all uses has a probability of at
most alpha, however the uses depend on each other. Why this, and not another rule: docs/gate.md, "Using a test set
again".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_bert_components.formats import count

if TYPE_CHECKING:
    import numpy as np

POWER = 0.8
# A class that has fewer texts among the rows that decide than this, and than half of those it has in the test set,
# would be judged by what is left of it.
FEWEST_OF_A_CLASS = 20


@dataclass(frozen=True)
class Use:
    """One use of a test set.

    Attributes:
        number: 1 for the first use of its lineage.
        alpha: What this use may spend.
        left: What is left for all later uses together.
        counted: Whether a registry counts the uses.
        lineage: Number of the lineage in the registry; 0 where uses are not counted.
        rows: Rows that decide; 0 where uses are not counted: all rows decide then.
        fresh: Those of them whose text no earlier decision of the registry saw.
        left_out: Rows of the test set that do not decide, because their text belongs to another lineage.
    """

    number: int
    alpha: float
    left: float
    counted: bool
    lineage: int = 0
    rows: int = 0
    fresh: int = 0
    left_out: int = 0

    def in_words(self) -> str:
        """What a reader must know of this use; "" for the first use of a test set, and where uses are not counted."""
        said = ""
        if self.number > 1:
            known = self.rows - self.fresh
            of = f"{count(known)} of the " if self.fresh else "all "
            verb = "is" if known == 1 and self.fresh else "are"
            said = f"Use {self.number} of this test set: {of}{count(self.rows)} rows that decide {verb} known from "
            said += "earlier decisions."
        if self.left_out:
            verb = "row of this test set is" if self.left_out == 1 else "rows of this test set are"
            said += (
                f" {count(self.left_out)} {verb} left out: their texts or groups belong to decisions on another test "
            )
            said += "set."
        return said.strip()


def uncounted(alpha: float) -> Use:
    """A use that may spend all of alpha, where no registry counts."""
    return Use(1, alpha, alpha, False)


def spend(number: int, alpha: float) -> float:
    """What use `number` of a lineage may spend of alpha."""
    return alpha / (number * (number + 1))


def choose_lineages(
    keys: np.ndarray, owners: np.ndarray, classes: np.ndarray, numbers: Mapping[int, int], alpha: float
) -> list[int]:
    """The lineages whose rows decide, together with the fresh rows: none, one, or all.

    Only counts are looked at, no answer of a model: the choice must not depend on what it will show. It takes what
    resolves the smaller difference, which is in proportion to (z(alpha of the use) + z(power)) / sqrt(texts). Distinct
    texts are counted and not rows: else to leave out a frequent text would look like evidence.

    Args:
        keys: A number for the text of each row, equal where the texts are; where groups of rows are one piece of
            evidence, then one for its group too, which is counted instead of the text; [rows, 1 or 2].
        owners: The lineage that each of these belongs to, 0 where it is fresh, [rows, 1 or 2]. A row whose text and
            group belong to different lineages decides for neither.
        classes: The true class of each row, int [rows].
        numbers: For each lineage the number of its last use.
        alpha: What all uses of a lineage may spend together.
    """
    import numpy as np
    from scipy.stats import norm

    touched = [one for one in np.unique(owners).tolist() if one]
    torn = ((owners != 0) & (owners != owners.max(1, keepdims=True))).any(1)
    lineages, owner = np.unique(np.append(np.where(torn, -1, owners.max(1)), 0), return_inverse=True)
    owner, many = owner[:-1], int(classes.max()) + 1
    code = np.unique(keys[:, -1], return_inverse=True)[1]
    # Rows of a group may belong to different lineages: then it counts for each of them.
    first = np.unique(code * len(lineages) + owner, return_index=True)[1]
    place = np.unique((code * len(lineages) + owner) * many + classes, return_index=True)[1]
    sizes = np.bincount(owner[first], minlength=len(lineages))
    table = np.bincount((owner * many + classes)[place], minlength=len(lineages) * many).reshape(-1, many)
    enough = np.minimum(FEWEST_OF_A_CLASS, (table.sum(0) + 1) // 2)
    found = []
    for one in [0, *touched]:  # 0 stands for the fresh rows alone
        inside = (lineages == 0) | (lineages == one)
        if (table[inside].sum(0) >= enough).all():
            critical = norm.isf(spend(1 + numbers.get(one, 0), alpha)) + norm.isf(1 - POWER)
            found.append((critical / np.sqrt(sizes[inside].sum()), one))
    return [one for one in ([min(found)[1]] if found else touched) if one]
