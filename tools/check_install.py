"""Build the wheel and try it where the repository is out of sight.

    python tools/check_install.py wheel                # contents, then a smoke test of `edge` from the wheel
    python tools/check_install.py extras [NAME ...]    # a smoke test of every extra, each in a fresh environment

The wheel is checked with the versions of constraints.txt. The extras are checked with the oldest versions setup.cfg
allows (tests/extras/floor.txt), because the tests of the working tree already run with the newest.
"""

from __future__ import annotations

import argparse
import configparser
import os
import re
import shutil
import subprocess
import sys
import time
import venv
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".cache" / "install"
SMOKE = ROOT / "tests" / "extras"
# The slowest first: two run at a time. `base` is the distribution without extras.
EXTRAS = {"tf": "tf", "jax": "jax", "demo": "demo", "dev": "test,dev", "eval": "eval", "edge": "edge", "base": ""}

ISOLATED = """
import importlib.util, pathlib, sys
import zoo
assert pathlib.Path(zoo.__file__).is_relative_to(sys.prefix), zoo.__file__
for name in ("datasets", "layers", "export"):
    assert importlib.util.find_spec(name) is None, f"top-level {name} is importable"
    assert importlib.util.find_spec(f"zoo.{name}") is not None, f"zoo.{name} is missing"
"""


class CheckError(Exception):
    """The wheel or an environment is not as it must be."""


def run(command: list[str | Path], *, cwd: Path, what: str, extra_env: dict[str, str] | None = None) -> str:
    """Run a command and return what it printed.

    Raises:
        CheckError: If it fails; the message has what it printed.
    """
    unwanted = ("PYTHON", "KERAS_", "JAX_", "XLA_", "TF_", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    env.update({"PYTHONSAFEPATH": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "Agg", **(extra_env or {})})
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CheckError(f"{what} failed with exit code {done.returncode}:\n{done.stdout}")
    return done.stdout


def build_wheel() -> Path:
    """Build the wheel from a clean tree and return its path."""
    for stale in [ROOT / "build", *ROOT.glob("*.egg-info")]:
        shutil.rmtree(stale, ignore_errors=True)
    out = WORK / "dist"
    shutil.rmtree(out, ignore_errors=True)
    run([sys.executable, "-m", "build", "--wheel", "--outdir", out, ROOT], cwd=WORK, what="Building the wheel")
    (wheel,) = out.glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """Compare the wheel's files with the source folders.

    Raises:
        CheckError: If a source file is missing, or something stands beside `zoo/` at the top.
    """
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    package_dir = [line.split("=") for line in parser["options"]["package_dir"].strip().splitlines()]
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    strangers = sorted({name.split("/")[0] for name in packed} - {"zoo"})
    if strangers:
        raise CheckError(f"{wheel.name} would install {', '.join(strangers)} beside zoo; see package_dir in setup.cfg.")
    expected = {"zoo/py.typed"}
    for package, folder in package_dir:
        base = ROOT / folder.strip()
        prefix = package.strip().replace(".", "/")
        files = [*base.rglob("*.py"), *base.glob("clients/*/*.*"), *base.glob("clients/*/Makefile")]
        expected |= {f"{prefix}/{path.relative_to(base).as_posix()}" for path in files}
    if packed != expected:
        raise CheckError(f"{wheel.name} and the folders differ: {sorted(packed ^ expected)}")


def make_environment(name: str, requirement: str, constraints: Path) -> Path:
    """Create a fresh environment with one requirement in it and return its folder.

    It has no pip of its own, and nothing is compiled ahead: it lives for a minute.
    """
    env = WORK / name
    shutil.rmtree(env, ignore_errors=True)
    venv.create(env, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", env / "bin" / "python"]
    run([*pip, "install", "--quiet", "--no-compile", "-c", constraints, requirement], cwd=WORK, what=f"pip ({name})")
    return env


def smoke(name: str, requirement: str, constraints: Path) -> tuple[float, float]:
    """Install `requirement` into a fresh environment and run its smoke test there.

    Args:
        name: Which `smoke_<name>.py` to run.
        requirement: What pip installs.
        constraints: The versions to use.

    Returns:
        The seconds the installation and the test took.
    """
    start = time.monotonic()
    env = make_environment(name, requirement, constraints)
    installed = time.monotonic()
    folder = WORK / f"{name}-cwd"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    python = env / "bin" / "python"
    paths = {"PATH": f"{env / 'bin'}{os.pathsep}{os.environ['PATH']}", "KERAS_HOME": str(folder / "keras")}
    run([python, "-P", "-c", ISOLATED], cwd=folder, what=f"Looking for zoo ({name})", extra_env=paths)
    run([python, "-P", SMOKE / f"smoke_{name}.py"], cwd=folder, what=f"The smoke test of {name}", extra_env=paths)
    end = time.monotonic()
    shutil.rmtree(env)
    shutil.rmtree(folder)
    return installed - start, end - installed


def floor_constraints() -> Path:
    """Write the oldest allowed versions over those of constraints.txt, so that nothing floats."""
    pins: dict[str, str] = {}
    for file in (ROOT / "constraints.txt", SMOKE / "floor.txt"):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                pins[re.sub(r"[-_.]+", "-", line.split("==")[0]).lower()] = line
    path = WORK / "floor.txt"
    path.write_text("\n".join(pins.values()) + "\n", encoding="utf-8")
    return path


def check_extras(names: list[str]) -> None:
    """Smoke-test extras from the wheel, two at a time, and print what each took."""
    wheel = build_wheel()
    constraints = floor_constraints()

    def one(name: str) -> None:
        extras = EXTRAS[name]
        install, test = smoke(name, f"{wheel}[{extras}]" if extras else str(wheel), constraints)
        print(f"extra {name:5} installed in {install:4.0f} s, smoke test passed in {test:3.0f} s", flush=True)

    with ThreadPoolExecutor(max_workers=2) as pool:
        for future in [pool.submit(one, name) for name in names]:
            future.result()


def check_wheel() -> None:
    """Check the wheel's contents and use it from a fresh environment."""
    wheel = build_wheel()
    check_contents(wheel)
    smoke("edge", f"{wheel}[edge]", ROOT / "constraints.txt")
    print(f"wheel {wheel.name} holds every package and answers from a .tflite")


def main() -> int:
    """Parse the command line and run one of the two checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("wheel")
    commands.add_parser("extras").add_argument("names", nargs="*", metavar="NAME", help=", ".join(EXTRAS))
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        if arguments.command == "wheel":
            check_wheel()
        else:
            unknown = sorted(set(arguments.names) - set(EXTRAS))
            if unknown:
                parser.error(f"no extra {', '.join(unknown)}; there are {', '.join(EXTRAS)}")
            check_extras(arguments.names or list(EXTRAS))
    except CheckError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
