"""The pipeline that a user names, as a compiled file: it is a file already, or a function."""

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from kfp_bert_components.errors import UserError, reason_of
from kfp_bert_components.storage import is_file
from kfp_bert_components.validation import did_you_mean

_READY = "kfp_bert_components.pipelines"
_LIBRARIES = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}


def compile_pipeline(name: str, target: Path) -> dict[str, Any]:
    """Write the pipeline called `name` to the YAML file `target` and return it.

    Args:
        name: A compiled pipeline (`pipeline.yaml`), or a function as `module:function` or
            `folder/file.py:function`. It can import the modules beside its file; of a module, those in the working
            folder. Or the name of a ready pipeline, such as `train_and_deploy`.
        target: The YAML file to write.

    Returns:
        The compiled pipeline as a dictionary.

    Raises:
        UserError: There is no such file, module or function, or it is not a pipeline.
    """
    if name.endswith((".yaml", ".yml", ".json")):
        target.write_text(_read(Path(name)))
    else:
        _compile_function(name, target)
    return _parse(name, target.read_text())


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read as a compiled pipeline: {reason_of(error)}.") from None


def _parse(name: str, text: str) -> dict[str, Any]:
    try:
        spec = next(iter(yaml.safe_load_all(text)), None)
    except yaml.YAMLError:
        spec = None
    if not isinstance(spec, dict) or "pipelineInfo" not in spec:
        raise UserError(f"{name} is no compiled KFP pipeline: expected YAML with a pipelineInfo.")
    return spec


def _compile_function(name: str, target: Path) -> None:
    from kfp.dsl import base_component

    from kfp_bert_components.components._compiled import compile_with_kfp

    ready = hasattr(_module(_READY), name)
    module_name, colon, function_name = (f"{_READY}:{name}" if ready else name).rpartition(":")
    if not colon or not module_name:
        raise UserError(f"{name!r} is no pipeline: {_advice(name)}")
    with _importing_from(Path(module_name).parent if module_name.endswith(".py") else Path.cwd()):
        pipeline = getattr(_module(module_name), function_name, None)
        if not isinstance(pipeline, base_component.BaseComponent):
            known = _pipelines_of(_module(module_name))
            advice = f": {did_you_mean(function_name, known)}" if known else "."
            raise UserError(f"{module_name} has no pipeline or component called {function_name!r}{advice}")
        with _mistakes_in(module_name):
            compile_with_kfp(pipeline, target)


def _advice(name: str) -> str:
    if name.endswith(".py"):
        return f"name the function in it, as {name}:function."
    if near := get_close_matches(name, _pipelines_of(_module(_READY)), 1):
        return f"did you mean {near[0]!r}?"
    return "give a .yaml file, module:function, file.py:function, or the name of a ready one (kfp-bert pipelines list)."


def _pipelines_of(module: ModuleType) -> list[str]:
    from kfp.dsl import base_component

    return [name for name, value in vars(module).items() if isinstance(value, base_component.BaseComponent)]


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Find the modules in a folder first, as Python does for a script in it."""
    before = list(sys.path)
    sys.path.insert(0, str(folder.absolute()))
    try:
        yield
    finally:
        sys.path[:] = before


def _module(name: str) -> ModuleType:
    if not name.endswith(".py"):
        return _imported(name)
    path = Path(name)
    if not is_file(path):
        raise UserError(f"There is no file {path}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    with _mistakes_in(name):
        spec.loader.exec_module(module)
    return module


def _imported(name: str) -> ModuleType:
    with _mistakes_in(name):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise
            raise UserError(f"There is no module {error.name!r} (asked for by {name!r}).") from None


@contextmanager
def _mistakes_in(name: str) -> Iterator[None]:
    """Turn an error that Python or KFP finds in the user's code into one sentence with its place."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        message = error.msg if isinstance(error, SyntaxError) else error
        raise UserError(f"{_place(error) or name}: {type(error).__name__}: {message}") from None


def _place(error: BaseException) -> str:
    """The last line of the user's own code that an error passed through, such as "pipeline.py, line 7"."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_library(frame.filename)]
    if not frames:
        return ""
    return f"{frames[-1].filename}, line {frames[-1].lineno} ({frames[-1].line})"


def _is_library(file: str) -> bool:
    return file == __file__ or file.startswith("<") or any(file.startswith(folder) for folder in _LIBRARIES)
