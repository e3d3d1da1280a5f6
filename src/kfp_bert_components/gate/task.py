"""Whether two models have the same task: do they know the same labels?"""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence


def other_task(ours: Sequence[str], theirs: Sequence[str], known_rows: float) -> str:
    """Why the champion may have another task than the candidate, as the end of a sentence; "" if nothing says so.

    Labels come and go in everyday life, one among ten. Labels that differ by their spelling only are most likely the
    same class, which the champion is then never right about. Where only half of the labels are common, or half of the
    test rows have a label that the champion knows, most of the difference is about labels and not about the models.

    Args:
        ours: The labels that the candidate knows.
        theirs: The labels that the champion knows.
        known_rows: Share of the test rows whose label the champion knows.
    """
    both, spelled = set(ours) & set(theirs), defaultdict(list)
    for label in theirs:
        spelled[_spelling(label)].append(label)
    for label in ours:
        for twin in spelled[_spelling(label)]:
            if twin != label and not {label, twin} <= both:
                return f"{label!r} and {twin!r} differ only by case, spaces, hyphens or Unicode form"
    if 2 * len(both) <= max(len(ours), len(theirs)):
        return f"only {len(both)} of all {len({*ours, *theirs})} labels are known to both"
    if known_rows <= 0.5:
        return f"only {known_rows:.0%} of the test rows have a label that the champion knows"
    return ""


def _spelling(label: str) -> str:
    """A label without what hardly anyone means by it: case, spaces, hyphens, invisible characters, Unicode form."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    return "".join(c for c in folded if not c.isspace() and unicodedata.category(c) not in ("Cf", "Pc", "Pd"))
