"""Where the project, its specs and its images are: the one place that says so.

Nothing is published yet. Until the first release names real places here, addresses end in `.invalid`, a name that
belongs to nobody, so that no stranger can ever answer at one.
"""

from kfp_bert_components import __version__

RELEASED = False
PROJECT = "https://kfp-bert-components.invalid"
IMAGES = "kfp-bert-components"

NOT_RELEASED = f"Version {__version__} is not released: nothing is at its addresses yet."


def specs_url(version: str = __version__) -> str:
    """Address of the folder component_specs as the tag of a version has it. It never changes its meaning."""
    return f"{PROJECT}/v{version}/component_specs"


def spec_url(name: str, version: str = __version__) -> str:
    """Address of the spec of a component, for `kfp.components.load_component_from_url`."""
    return f"{specs_url(version)}/{name}/component.yaml"
