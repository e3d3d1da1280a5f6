"""The one thing worth showing of a failed step: the user's mistake in a sentence, or the traceback."""

import re

_TRACEBACK = "Traceback (most recent call last):"
_USER_ERROR = re.compile(r"^kfp_bert_components\.errors\.\w+: (.*)")


def explain(lines: list[str]) -> str:
    """What went wrong in a step that printed `lines`.

    Returns:
        The message alone where the step ended with a `UserError`; otherwise its last traceback; without
        one its last twenty lines.
    """
    starts = [i for i, line in enumerate(lines) if line.strip() == _TRACEBACK]
    if not starts:
        return "\n".join(lines[-20:])
    traceback = lines[starts[-1] :]
    for i, line in enumerate(traceback):
        if match := _USER_ERROR.match(line):
            return "\n".join([match[1], *traceback[i + 1 :]]).strip()
    return "\n".join(traceback)
