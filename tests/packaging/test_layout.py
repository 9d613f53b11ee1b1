"""setup.cfg against the folders: a package missing there works when editable and is absent from the wheel."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version


@pytest.fixture(scope="module")
def config(repository: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(repository / "setup.cfg", encoding="utf-8")
    return parser


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def folder_packages(repository: Path, package_dir: dict[str, str]) -> set[str]:
    """Every folder with Python files, under the name it is imported by."""
    found = set()
    for package, folder in package_dir.items():
        base = repository / folder
        for file in base.rglob("*.py"):
            parts = file.parent.relative_to(base).parts
            found.add(".".join((package, *parts)))
    return found


def test_every_folder_is_listed(repository: Path, config: configparser.ConfigParser) -> None:
    package_dir = dict(line.replace(" ", "").split("=") for line in lines(config["options"]["package_dir"]))
    listed = lines(config["options"]["packages"])
    assert listed == sorted(set(listed))
    assert set(listed) == folder_packages(repository, package_dir)
    for package in listed:
        top = max((name for name in package_dir if f"{package}.".startswith(f"{name}.")), key=len)
        folder = repository.joinpath(package_dir[top], *package.removeprefix(top).strip(".").split("."))
        assert (folder / "__init__.py").is_file(), f"{folder} has no __init__.py"


def test_nothing_but_zoo_is_installed_at_the_top(config: configparser.ConfigParser) -> None:
    assert {package.split(".")[0] for package in lines(config["options"]["packages"])} == {"zoo"}


def test_file_names_are_unique_in_tests(repository: Path) -> None:
    names = [path.name for path in (repository / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
    assert not list((repository / "tests").rglob("__init__.py"))


@pytest.mark.parametrize("name", ["datasets", "layers", "export"])
def test_a_top_level_folder_says_what_to_import(repository: Path, name: str) -> None:
    """`import datasets` from the repository root would otherwise shadow Hugging Face's package."""
    code = f"import sys; sys.path.insert(0, {str(repository)!r}); import {name}"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("ImportError") and f"zoo.{name}" in last


def test_floor_versions_are_the_declared_lower_bounds(repository: Path, config: configparser.ConfigParser) -> None:
    """tests/extras/floor.txt is what the extras are smoke-tested with, so it must be what setup.cfg promises."""
    floor_lines = lines((repository / "tests/extras/floor.txt").read_text(encoding="utf-8"))
    pins = [Requirement(line) for line in floor_lines if not line.startswith("#")]
    # The oldest Python: a newer one may have no wheel of a package's oldest version.
    oldest = {"python_version": config["options"]["python_requires"].split(",")[0].removeprefix(">=")}
    floor = {pin.name: pin.specifier for pin in pins if pin.marker is None or pin.marker.evaluate(oldest)}
    extras = config["options.extras_require"]
    required = lines(config["options"]["install_requires"])
    required += [line for extra in ("edge", "eval", "tf", "jax") for line in lines(extras[extra])]
    bounds = {bound.name: bound.specifier for bound in map(Requirement, required) if ">=" in str(bound.specifier)}
    for name, bound in bounds.items():
        assert version(bound) == version(floor[name]), name


def version(specifier: SpecifierSet) -> Version:
    (only,) = specifier
    return Version(only.version)
