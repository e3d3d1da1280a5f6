"""Collects the sentences of the package's errors from its source, for docs/errors.md.

A sentence is the text that an error is made of, with … for each value in it. An error whose text comes from somewhere
else must have that place in ELSEWHERE, so that no sentence is forgotten.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "kfp_bert_components"
# Errors of other libraries that reach the user with a sentence of ours.
FOREIGN = {"PydanticCustomError", "UsageError", "BadParameter", "HTTPException"}
# Where errors take a text from, other than their own line: all sentences in these functions and constants. A file with
# none of them has errors that only pass on the text of others.
ELSEWHERE = {
    "ai_platform/settings.py": {"_broken_rule"},
    "ai_platform/target.py": set(),
    "cli/kubeflow.py": {"_refusal"},
    "cli/registry.py": set(),
    "data/checking.py": {"sentence", "WHAT"},
    "deployment/smoke_test.py": {"NO_ROWS"},
    "extras.py": {"missing_extra"},
    "kserve/reasons.py": {"_of_pod", "_of_container", "_of_server", "_of_status", "_unknown"},
    "gate/policy.py": {"_unknown_rule"},
    "local/pipelines.py": {"_advice"},
    "mirrors/model_registry.py": {"_error"},
    "registry/_test_set_repair.py": {"lost_uses", "test_set_problems"},
    "registry/_test_sets.py": set(),
    "registry/_verify.py": {"_pointers", "_unknown_to", "_records", "_readable", "_stranger", "_files"},
    "serving/server.py": set(),
    "serving/manager.py": {"problem"},
    "steps/clean_up_run.py": set(),
    "storage/_open.py": {"_unwritable"},
    "training/diagnosis.py": {"explain"},
    "training/trials.py": set(),
    "trainjob/pods.py": {"_note_end", "_trouble", "why"},
    "validation.py": {"sentence"},
}


def sentences() -> dict[str, list[str]]:
    """The sentences of each part of the package, in the order of its files: by folder, or file of the ground."""
    trees = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}
    errors = _error_classes(trees.values()) | FOREIGN
    found: dict[str, dict[str, None]] = {}
    for name, tree in trees.items():
        part = found.setdefault(name.partition("/")[0].removesuffix(".py"), {})
        part.update(dict.fromkeys(_of_module(name, tree, errors)))
    return {part: list(lines) for part, lines in found.items() if lines}


def _error_classes(trees: object) -> set[str]:
    """The names of the package's errors that have a sentence for the user."""
    classes = [one for tree in trees for one in ast.walk(tree) if isinstance(one, ast.ClassDef)]  # type: ignore[attr-defined]
    names, before = {"UserError", "TransientError"}, set[str]()
    while names != before:
        before = set(names)
        names |= {one.name for one in classes if any(ast.unparse(base) in names for base in one.bases)}
    return names


def _of_module(name: str, tree: ast.Module, errors: set[str]) -> Iterator[str]:
    helpers = {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}
    raised = [one.exc for one in ast.walk(tree) if isinstance(one, ast.Raise)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called not in errors and not (node in raised and called in {"error", "refused", "problem", "neither"}):
                continue
            texts = [text for argument in node.args for text in _texts(argument)]
            if called == "PydanticCustomError":
                texts = [re.sub(r"{\w+}", "…", text) for text in texts[1:]]
            if not texts and node.args and name not in ELSEWHERE:
                raise SystemExit(f"{name} line {node.lineno}: an error has no text here; add its place to ELSEWHERE.")
            yield from (text for text in texts if _words(text) > 1 or (_words(text) and "…" in text))
        elif _name(node) in ELSEWHERE.get(name, ()):
            yield from (text for text in _texts(node) if _words(text) > 2)
    if missing := ELSEWHERE.get(name, set()) - helpers - {_name(node) for node in tree.body}:
        raise SystemExit(f"{name} has no {', '.join(missing)}: mend ELSEWHERE.")


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return node.name if isinstance(node, ast.FunctionDef) else ""


def _texts(node: ast.AST) -> Iterator[str]:
    """The texts below a node, docstrings not among them: each with … for its values."""
    if isinstance(node, ast.BinOp | ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        yield " ".join(_template(node).split())
        return
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
            yield from _texts(child)


def _template(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "…"
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(value) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    return "…"


def _words(text: str) -> int:
    """How many words a text has; a name in code is one."""
    return len([word for word in text.replace("…", " ").split() if re.search(r"[^\W\d_]", word)])
