"""The rules on who may import what, read from the syntax tree and then seen in a process."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = {"tensorflow", "jax", "jaxlib", "torch"}
HEAVY = {"keras", "keras_hub", "tensorflow_datasets", *BACKENDS}

# Where TensorFlow is the point: SavedModel and TFLite conversion, tf.distribute, its devices, memory and profiler.
TENSORFLOW_FILES = {
    "export/_convert_worker.py",
    "zoo/training/devices.py",
    "zoo/training/engine_tensorflow.py",
    "zoo/training/memory.py",
    "zoo/training/optimizer_tensorflow.py",
    "zoo/training/profiler.py",
}
# Where JAX is the point.
JAX_FILES = {
    "zoo/training/devices.py",
    "zoo/training/engine_jax.py",
    "zoo/training/memory.py",
    "zoo/training/profiler.py",
    "zoo/training/tpu_compile.py",
    "zoo/training/tpu_lint.py",
}
# Importable, names and all, where Keras is not installed: folders whose every module keeps this, and single modules.
LIGHT_FOLDERS = ("zoo/models/", "zoo/recipes/", "zoo/preprocess/", "zoo/metrics/", "datasets/")
LIGHT_MODULES = (
    "zoo/__init__.py",
    "zoo/__main__.py",
    "zoo/api.py",
    "zoo/cli.py",
    "zoo/commands.py",
    "zoo/commands_answers.py",
    "zoo/commands_compare.py",
    "zoo/commands_data.py",
    "zoo/commands_doctor.py",
    "zoo/commands_files.py",
    "zoo/compare.py",
    "zoo/config.py",
    "zoo/display.py",
    "zoo/doctor.py",
    "zoo/errors.py",
    "zoo/files.py",
    "zoo/references.py",
    "zoo/registry.py",
    "zoo/results.py",
    "zoo/run.py",
    "zoo/tasks/__init__.py",
    "zoo/tasks/captioning.py",
    "zoo/tasks/forecasting.py",
    "zoo/tasks/text_classification.py",
    "zoo/training/__init__.py",
    "zoo/training/best.py",
    "zoo/training/config.py",
    "zoo/training/devices.py",
    "zoo/training/interrupts.py",
    "zoo/training/pipeline.py",
    "zoo/training/plan.py",
    "zoo/training/state.py",
    "zoo/training/workarounds.py",
    "export/__init__.py",
    "export/bundle.py",
    "export/client.py",
    "export/inspection.py",
    "export/runtime.py",
    "export/structure.py",
    "export/web.py",
)
RUNTIME_MAY_IMPORT = ("zoo.preprocess", "zoo.errors", "zoo.results", "zoo.export.bundle", "zoo.export.structure")


class Import(NamedTuple):
    """One imported name: the dotted module, its line, whether it is relative, and whether it runs on import."""

    module: str
    line: int
    relative: bool
    on_import: bool


def package_folders() -> dict[str, str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return dict(line.replace(" ", "").split("=") for line in parser["options"]["package_dir"].strip().splitlines())


def sources() -> list[str]:
    return sorted(
        path.relative_to(ROOT).as_posix()
        for folder in package_folders().values()
        for path in ROOT.joinpath(folder).rglob("*.py")
    )


def module_name(file: str) -> str:
    package, folder = next(pair for pair in package_folders().items() if file.startswith(f"{pair[1]}/"))
    parts = Path(file).with_suffix("").relative_to(folder).parts
    return ".".join((package, *parts)).removesuffix(".__init__")


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def walk(node: ast.AST, on_import: bool = True) -> Iterator[Import]:
    """Every import of a module, except those a type checker alone sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and is_type_checking(child.test):
            for other in child.orelse:
                yield from walk(ast.Module([other], []), on_import)
        elif isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, False, on_import)
        elif isinstance(child, ast.ImportFrom):
            for alias in child.names:
                yield Import(f"{child.module or ''}.{alias.name}", child.lineno, child.level > 0, on_import)
        else:
            yield from walk(
                child, on_import and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            )


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"), file)


@cache
def imports(file: str) -> tuple[Import, ...]:
    return tuple(walk(tree(file)))


def top(found: Import) -> str:
    return found.module.split(".")[0]


def within(module: str, *packages: str) -> bool:
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def complain(file: str, found: Import) -> str:
    return f"{file}:{found.line} imports {found.module}"


def test_walk_tells_import_time_from_call_time() -> None:
    module = ast.parse(
        "import a\nif TYPE_CHECKING:\n    import b\nelse:\n    import c\n"
        "class C:\n    import d\n    def f(self):\n        import e\n"
        "try:\n    from .x import y\nexcept ImportError:\n    pass\n"
    )
    found = {(item.module, item.relative, item.on_import) for item in walk(module)}
    assert found == {
        ("a", False, True),
        ("c", False, True),
        ("d", False, True),
        ("e", False, False),
        ("x.y", True, True),
    }


def test_imports_are_absolute() -> None:
    wrong = [complain(file, found) for file in sources() for found in imports(file) if found.relative]
    assert not wrong


def test_our_folders_are_imported_by_their_installed_names() -> None:
    folders = set(package_folders().values()) - {"zoo"}
    wrong = [complain(file, found) for file in sources() for found in imports(file) if top(found) in folders]
    assert not wrong


def test_layers_import_keras_and_nothing_of_ours() -> None:
    allowed = set(sys.stdlib_module_names) | {"keras", "numpy"}
    wrong = [
        complain(file, found)
        for file in sources()
        if file.startswith("layers/")
        for found in imports(file)
        if top(found) not in allowed and not within(found.module, "zoo.layers")
    ]
    assert not wrong


def test_models_do_not_look_down_the_flow() -> None:
    later = (
        "zoo.training",
        "zoo.recipes",
        "zoo.datasets",
        "zoo.export",
        "zoo.run",
        "zoo.api",
        "zoo.cli",
        "zoo.metrics",
    )
    wrong = [
        complain(file, found)
        for file in sources()
        if file.startswith("zoo/models/")
        for found in imports(file)
        if within(found.module, *later)
    ]
    assert not wrong


def test_preprocessing_needs_numpy_pillow_and_tokenizers_only() -> None:
    allowed = set(sys.stdlib_module_names) | {"numpy", "PIL", "tokenizers"}
    ours = ("zoo.preprocess", "zoo.errors", "zoo.files", "zoo.results", "zoo.config")
    wrong = [
        complain(file, found)
        for file in sources()
        if file.startswith("zoo/preprocess/")
        for found in imports(file)
        if top(found) not in allowed and not within(found.module, *ours)
    ]
    assert not wrong


def test_the_runtime_needs_little() -> None:
    allowed = set(sys.stdlib_module_names) | {"numpy", "PIL", "ai_edge_litert"}
    wrong = [
        complain("export/runtime.py", found)
        for found in imports("export/runtime.py")
        if top(found) not in allowed and not within(found.module, *RUNTIME_MAY_IMPORT)
    ]
    assert not wrong


def test_light_modules_import_no_backend_at_the_top() -> None:
    wrong = [
        complain(file, found)
        for file in sources()
        if file in LIGHT_MODULES or file.startswith(LIGHT_FOLDERS)
        for found in imports(file)
        if found.on_import and (top(found) in HEAVY or within(found.module, "zoo.layers"))
    ]
    assert not wrong


def test_backends_are_imported_only_where_they_are_the_point() -> None:
    allowed = {"tensorflow": TENSORFLOW_FILES, "jax": JAX_FILES}
    wrong = [
        complain(file, found)
        for file in sources()
        for found in imports(file)
        if top(found) in BACKENDS and file not in allowed.get(top(found), set())
    ]
    assert not wrong
    assert set(sources()) >= TENSORFLOW_FILES | JAX_FILES


def test_nothing_is_unpickled_or_evaluated() -> None:
    wrong = []
    for file in sources():
        wrong += [
            complain(file, item) for item in imports(file) if top(item) in {"pickle", "dill", "marshal", "shelve"}
        ]
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec"}:
                wrong.append(f"{file}:{node.lineno} calls {node.func.id}")
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
                wrong.append(f"{file}:{node.value.lineno} passes allow_pickle")
            if isinstance(node, ast.Attribute) and node.attr == "Lambda":
                wrong.append(f"{file}:{node.lineno} uses a Lambda layer")
    assert not wrong


BLOCKED = """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {heavy!r}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocker())
for name in {modules!r}:
    importlib.import_module(name)
import zoo
assert zoo.list_models(), "no model is registered"
"""


def run_python(code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)


def test_light_modules_import_with_every_backend_blocked(tmp_path: Path) -> None:
    files = [file for file in sources() if file in LIGHT_MODULES or file.startswith(LIGHT_FOLDERS)]
    modules = [module_name(file) for file in files if not file.endswith("__main__.py")]
    done = run_python(BLOCKED.format(heavy=HEAVY, modules=modules), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["zoo", "zoo.export.runtime"])
def test_importing_leaves_no_backend_behind(module: str, tmp_path: Path) -> None:
    code = f"import sys, {module}; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
