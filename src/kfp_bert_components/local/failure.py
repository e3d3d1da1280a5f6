"""Why a step failed, from what it printed."""

import re

from kfp_bert_components.extras import missing_extra

_TRACEBACK = "Traceback (most recent call last):"
_OUR_ERROR = re.compile(r"^kfp_bert_components(?:\.\w+)+: (.*)")


def explain(lines: list[str]) -> str:
    """Why a step failed that printed `lines`.

    Returns:
        The message of the error of this package that it ended with; which extra installs a module that is missing; for
        another error, its last traceback; without a traceback, its last twenty lines.
    """
    starts = [i for i, line in enumerate(lines) if line.strip() == _TRACEBACK]
    if not starts:
        return "\n".join(lines[-20:])
    traceback = lines[starts[-1] :]
    for i, line in enumerate(traceback):
        if match := _OUR_ERROR.match(line):
            return "\n".join([match[1], *traceback[i + 1 :]]).strip()
    missing = [line for line in traceback if line.startswith(("ModuleNotFoundError: ", "ImportError: "))]
    return missing_extra("".join(missing)) or "\n".join(traceback)
