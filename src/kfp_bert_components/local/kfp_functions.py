"""How functions of kfp are replaced: kfp.local has no hook for what our runs do differently."""

import inspect
from collections.abc import Callable
from typing import Any

import kfp

from kfp_bert_components.errors import UserError
from kfp_bert_components.local.events import RunEvent

Report = Callable[[RunEvent], None]

# The parameters of the functions that run a task.
TASK = (
    "task_name task_spec pipeline_resource_name components executors io_store pipeline_root runner unique_pipeline_id "
    "fail_stack"
)


def replace(owner: Any, name: str, parameters: str, replacement: Callable[[Any], Any]) -> None:
    """Replace a function of kfp by `replacement(function)`.

    Args:
        owner: The module or class that it is in.
        name: Its name.
        parameters: The names of its parameters, with a space between two.
        replacement: Gives the new function for the old one.

    Raises:
        UserError: This kfp does not have the function, or it takes other arguments.
    """
    function = getattr(owner, name, None)
    if function is None or list(inspect.signature(function).parameters) != parameters.split():
        raise UserError(
            f"kfp {kfp.__version__} runs pipelines in another way than this version of kfp-bert-components knows: "
            "pip install 'kfp==2.17.0'."
        )
    setattr(owner, name, replacement(function))
