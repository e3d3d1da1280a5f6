"""What the checks found, and what becomes of the rows that they found."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kfp_bert_components.data.gather import Rows
from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.chunks import EXAMPLES, Example, FileFacts

# Parameter: what is wrong with "12 rows ..." of it.
WHAT = {
    "unreadable": "can't be read",
    "empty_text": "have no text",
    "missing_label": "have no label",
    "unknown_label": "have a label that label_names does not know",
    "mojibake": "were decoded with the wrong encoding",
    "outlier_length": "are far longer than the rest",
    "constant_text": "have all the same text",
    "conflicting_labels": "have a text that occurs with different labels",
    "duplicates": "repeat an earlier row",
    "small_classes": "have a label that is too rare",
    "leakage": "are in test or validation too",
}


@dataclass
class Finding:
    """The result of one check.

    Attributes:
        check: The name of its parameter.
        policy: error, drop or keep.
        count: Rows that were found.
        dropped: Rows that were taken out for it (a row counts for the first check that drops it).
        examples: A few of them.
        note: What else there is to say.
    """

    check: str
    policy: str
    count: int = 0
    dropped: int = 0
    examples: list[Example] = field(default_factory=list)
    note: str = ""

    @property
    def what(self) -> str:
        return WHAT[self.check]


@dataclass
class Sieve:
    """The rows that are still in, and the findings so far.

    Attributes:
        rows: All rows.
        facts: The files, for their names.
        settings: The policies.
        inside: Whether each row is still in, bool [rows].
        code: Class of each row, int32 [rows].
        names: Names of the classes.
        findings: By check, in the order in which they ran.
    """

    rows: Rows
    facts: list[FileFacts]
    settings: PrepareSettings
    inside: np.ndarray
    code: np.ndarray
    names: list[str]
    findings: dict[str, Finding] = field(default_factory=dict)

    def apply(self, check: str, found: np.ndarray, note: str = "", reasons: str = "", hint: str = "") -> None:
        """Count the rows that a check found among those still in, and do what its policy says.

        Args:
            check: Name of the parameter.
            found: Whether it found each row, bool [rows].
            note: For the report.
            reasons: What is wrong with the examples.
            hint: What the user can do, for the sentence of the error.

        Raises:
            UserError: The policy is error, and there are such rows.
        """
        found = found & self.inside
        where = np.flatnonzero(found)
        policy = getattr(self.settings, check)
        finding = self.findings[check] = Finding(check, policy, len(where), note=note)
        finding.examples = [self.example(int(index), reasons) for index in where[:EXAMPLES]]
        if policy == "error" and len(where):
            raise UserError(sentence(finding, hint))
        if policy == "drop":
            finding.dropped = len(where)
            self.inside &= ~found

    def example(self, index: int, reason: str = "") -> Example:
        """A row as an example; its text is filled in later, when the texts are read again."""
        return Example(self.facts[self.rows.file[index]].name, int(self.rows.row[index]), "", reason, index)


def sentence(finding: Finding, hint: str = "") -> str:
    """What is wrong and what to do, as an error says it."""
    rows = f"{finding.count:,} row{'s' * (finding.count != 1)}"
    what = finding.what if finding.count != 1 else _singular(finding.what)
    how = f"{hint}, or " if hint else f"mend {'them' if finding.count != 1 else 'it'}, or "
    choices = "'drop'" if finding.check == "missing_label" else "'drop' or 'keep'"
    return f"{rows} {what}{first_row(finding)}: {how}set {finding.check} to {choices}."


def first_row(finding: Finding) -> str:
    """Where the first row is that was found, in brackets; "" where there is none to show."""
    if not finding.examples:
        return ""
    first = finding.examples[0]
    reason = f": {first.reason}" if first.reason else ""
    return f" (the first is {first.file} row {first.row}{reason})"


def _singular(what: str) -> str:
    verb, _, rest = what.partition(" ")
    return f"{ {'have': 'has', 'were': 'was', 'are': 'is', 'repeat': 'repeats'}.get(verb, verb) } {rest}"
