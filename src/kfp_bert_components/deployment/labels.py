"""Labels that say whose a resource is, where the place has labels: AI Platform and Kubernetes."""

import hashlib
import re

# The registry's id, and the name of the deployment record in it.
REGISTRY_LABEL, TARGET_LABEL = "kfp-bert-registry", "kfp-bert-target"


def slug(text: str, most: int = 40) -> str:
    """`text` as a label's value or part of an id: 1 to `most` lower-case letters, digits and dashes.

    A text that is one already stays as it is. Others end with a hash, as two of them must not become the same.
    """
    short = short_slug(text, most)
    return short if short == text else f"{short[: most - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def short_slug(text: str, most: int = 40) -> str:
    """The same without the hash, as labels of older rollouts have it."""
    return re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:most] or "x"
