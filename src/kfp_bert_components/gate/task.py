"""Whether two models have the same task: do they know the same labels?"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

_BETWEEN = re.compile(r"[\W_]+")
_MINUS = "\N{MINUS SIGN}"


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
    """A label without what hardly anyone means by it: case, spaces, hyphens, invisible characters, Unicode form.

    A hyphen or underscore is one between two letters, or a letter and a digit: in -1, A- and 1-2 it means something.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    return _BETWEEN.sub(_joint, "".join(c for c in folded if unicodedata.category(c) != "Cf").strip())


def _joint(found: re.Match[str]) -> str:
    """What is left of a run of characters that are neither letters nor digits."""
    run = ["-" if unicodedata.category(c) in ("Pc", "Pd") or c == _MINUS else c for c in found[0] if not c.isspace()]
    before, after = found.string[: found.start()][-1:], found.string[found.end() :][:1]
    digits = before.isdigit() and after.isdigit()
    if set(run) <= {"-"} and before and after:
        return "".join(run) or " " if digits else ""
    return "".join(run)
