"""Run while an image is built: what a step would do at its start again and again is done here, once.

Python writes the bytecode of all that the package imports anywhere, also within functions, and only of that. What an
image lacks, such as TensorFlow in the slim one, is passed over. Numba compiles the loops over text.
"""

import ast
import importlib
import importlib.util
import pkgutil
import tempfile
from pathlib import Path

import kfp_bert_components as package
from kfp_bert_components.errors import UserError


def import_there(module: str, names: list[str]) -> None:
    """Import a module if it is there, and its parts by name: some packages import them when they are asked for."""
    try:
        found = importlib.import_module(module)
        for name in names:
            getattr(found, name, None)
    except (ImportError, UserError) as error:
        if "shared object" in str(error):  # the image lacks a part of a library that it has
            raise
        print(f"not in this image: {module} ({error})")


import_there("kfp.dsl.executor_main", [])
for info in pkgutil.walk_packages(
    package.__path__, f"{package.__name__}.", lambda name: print(f"not in this image: {name}")
):
    spec = importlib.util.find_spec(info.name)
    for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                import_there(alias.name, [])
        elif isinstance(node, ast.ImportFrom):
            import_there(node.module, [alias.name for alias in node.names])

if importlib.util.find_spec("numba"):
    from kfp_bert_components.data.prepare_data import prepare

    sample = Path(package.__file__).parent / "local" / "sample" / "screenplay.csv"
    with tempfile.TemporaryDirectory() as scratch:
        prepare(sample, *(Path(scratch, split) for split in ("train", "validation", "test")))
