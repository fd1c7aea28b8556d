"""The plan of docs/architecture.md holds: storeys, no circles, imports at the top, settings instead of namespaces."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

COMMON = PROJECT / "common"
ENTRY_POINTS = {"demo", "evaluate", "population", "prepare", "reconstruct", "weights"}
FILES = sorted(COMMON.rglob("*.py"))
HEAVY = {"keras", "matplotlib", "pandas", "skimage", "tensorflow"}
OPTIONAL = set(
    "ai_edge_litert dask distributed imagecodecs jax onnx onnxruntime openvino tensorboard tf2onnx torch".split()
)


def trees(files=FILES):
    return {file.relative_to(PROJECT): ast.parse(file.read_text("utf-8")) for file in files}


def inner_imports(tree):
    """The import statements inside functions: sets of the modules that they import."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    found = {}
    for node in (node for function in functions for node in ast.walk(function)):
        if isinstance(node, ast.Import):
            found[node.lineno] = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found[node.lineno] = {node.module}
    return list(found.values())


def test_imports_go_down_only_and_never_in_a_circle():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    done = subprocess.run(command, cwd=PROJECT, env={"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout


def test_imports_inside_functions_are_few_and_wait_for_something_heavy():
    scripts = sorted(PROJECT.glob("*.py"))
    found = {file: inner_imports(tree) for file, tree in trees([*FILES, *scripts]).items()}
    modules = {(str(file), name) for file, all_of in found.items() for names in all_of for name in names}
    for file, name in modules:
        root = name.split(".")[0]
        assert root in HEAVY | OPTIONAL | {"common"}, f"{file}: import {name} at the top"
    assert sum(map(len, found.values())) <= 35, found


@pytest.mark.parametrize("file", [str(file.relative_to(PROJECT)) for file in FILES])
def test_no_namespace_gets_below_the_command_line_and_no_file_is_long(file):
    path = Path(file)
    if "cli" in path.parts or path.stem in ENTRY_POINTS and len(path.parts) == 2:
        return
    text = (PROJECT / file).read_text("utf-8")
    assert len(text.splitlines()) <= 300
    tree = ast.parse(text)
    names = {argument.arg for node in ast.walk(tree) if isinstance(node, ast.arguments) for argument in node.args}
    assert not names & {"options", "arguments", "namespace"} and "argparse" not in text


def test_tests_have_the_folders_of_common():
    packages = {folder.name for folder in COMMON.iterdir() if (folder / "__init__.py").is_file()}
    assert packages <= {folder.name for folder in (PROJECT / "tests").iterdir() if any(folder.glob("test_*.py"))}
