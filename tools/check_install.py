"""Build the wheel and try it where the repository is out of sight.

    python tools/check_install.py wheel                # contents, then a smoke test of `edge`, shipped weights and all
    python tools/check_install.py extras [NAME ...]    # a smoke test of every extra, each in a fresh environment

The wheel is checked with the versions of constraints.txt. The extras are checked with the oldest versions setup.cfg
allows (tests/extras/floor.txt), because the tests of the working tree already run with the newest.

The extra `jax` is that of Colab's TPU runtimes, which have no TensorFlow: it is checked on their Python if `python3.13`
is there. What it trains is exported by the check of `tf`, in an environment without JAX.
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
import zipfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".cache" / "install"
SMOKE = ROOT / "tests" / "extras"
# Two run at a time, and `tf` waits for what `jax` has trained. `base` is the distribution without extras.
EXTRAS = {
    "jax": "jax",
    "tf": "tf",
    "tpu": "tpu",
    "demo": "demo",
    "dev": "test,dev",
    "eval": "eval",
    "edge": "edge",
    "base": "",
}

COLAB_PYTHON = "3.13"
TRAINED = WORK / "trained-on-jax"
ARGUMENTS: dict[str, list[str | Path]] = {"jax": [TRAINED], "tf": [TRAINED]}
"""What a smoke test gets on its command line."""

ISOLATED = """
import importlib.util, pathlib, sys
import zoo
assert pathlib.Path(zoo.__file__).is_relative_to(sys.prefix), zoo.__file__
for name in ("datasets", "layers", "export"):
    assert importlib.util.find_spec(name) is None, f"top-level {name} is importable"
    assert importlib.util.find_spec(f"zoo.{name}") is not None, f"zoo.{name} is missing"
print(sys.version.split()[0])
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
        files += [path for path in base.glob("shipped/*/*/**/*") if path.is_file()]
        expected |= {f"{prefix}/{path.relative_to(base).as_posix()}" for path in files}
    if packed != expected:
        raise CheckError(f"{wheel.name} and the folders differ: {sorted(packed ^ expected)}")


def find_python(version: str) -> Path | None:
    """Return the interpreter that `python<version>` starts, or None if there is none."""
    # Where pyenv owns that name, it starts a version only if one is selected.
    env = {**os.environ, "PYENV_VERSION": version}
    command = [f"python{version}", "-c", "import sys; print(sys.executable)"]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return Path(done.stdout.strip()) if done.returncode == 0 else None


def choose_python(name: str) -> Path:
    """Return the interpreter that an extra is tested on: Colab's for `jax` if it is there, else the running one."""
    if name != "jax":
        return Path(sys.executable)
    found = find_python(COLAB_PYTHON)
    if found is None:
        print(
            f"There is no python{COLAB_PYTHON} (Colab's TPU runtime has it): extra jax is tested on Python "
            f"{sys.version.split()[0]} instead.",
            flush=True,
        )
    return found or Path(sys.executable)


def make_environment(name: str, requirement: str, constraints: Path, python: Path) -> Path:
    """Create a fresh environment with one requirement in it and return its folder.

    It has no pip of its own, and nothing is compiled ahead: it lives for a minute.
    """
    env = WORK / name
    shutil.rmtree(env, ignore_errors=True)
    run([python, "-m", "venv", "--without-pip", env], cwd=WORK, what=f"venv ({name})")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", env / "bin" / "python"]
    run([*pip, "install", "--quiet", "--no-compile", "-c", constraints, requirement], cwd=WORK, what=f"pip ({name})")
    return env


def smoke(
    name: str, requirement: str, constraints: Path, *, wait: Callable[[], object] | None = None
) -> tuple[str, float, float]:
    """Install `requirement` into a fresh environment and run its smoke test there.

    Args:
        name: Which `smoke_<name>.py` to run.
        requirement: What pip installs.
        constraints: The versions to use.
        wait: Called before the smoke test starts.

    Returns:
        The version of Python, and the seconds the installation and the test took.
    """
    start = time.monotonic()
    env = make_environment(name, requirement, constraints, choose_python(name))
    installed = time.monotonic() - start
    folder = WORK / f"{name}-cwd"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if wait is not None:
        wait()
    start = time.monotonic()
    python = env / "bin" / "python"
    paths = {"PATH": f"{env / 'bin'}{os.pathsep}{os.environ['PATH']}", "KERAS_HOME": str(folder / "keras")}
    isolated = run([python, "-P", "-c", ISOLATED], cwd=folder, what=f"Looking for zoo ({name})", extra_env=paths)
    paths["PYTHONPATH"] = str(SMOKE)  # for small_data.py; -P leaves a script's own folder out
    command = [python, "-P", SMOKE / f"smoke_{name}.py", *ARGUMENTS.get(name, [])]
    run(command, cwd=folder, what=f"The smoke test of {name}", extra_env=paths)
    tested = time.monotonic() - start
    shutil.rmtree(env)
    shutil.rmtree(folder)
    return isolated.split()[-1], installed, tested


def floor_constraints() -> Path:
    """Write the oldest allowed versions over those of constraints.txt, so that nothing floats."""
    pins: dict[str, list[str]] = {}
    for file in (ROOT / "constraints.txt", SMOKE / "floor.txt"):
        here: dict[str, list[str]] = {}  # several lines of one package have different markers
        for line in file.read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                here.setdefault(re.sub(r"[-_.]+", "-", line.split("==")[0]).lower(), []).append(line)
        pins.update(here)
    path = WORK / "floor.txt"
    path.write_text("".join(f"{line}\n" for lines in pins.values() for line in lines), encoding="utf-8")
    return path


def check_extras(names: list[str]) -> None:
    """Smoke-test extras from the wheel, two at a time, and print what each took."""
    names = [name for name in EXTRAS if name in names or (name == "jax" and "tf" in names)]
    wheel = build_wheel()
    constraints = floor_constraints()
    shutil.rmtree(TRAINED, ignore_errors=True)
    TRAINED.mkdir()
    running: dict[str, Future[None]] = {}

    def one(name: str) -> None:
        extras = EXTRAS[name]
        requirement = f"{wheel}[{extras}]" if extras else str(wheel)
        wait = running["jax"].result if name == "tf" else None
        python, install, test = smoke(name, requirement, constraints, wait=wait)
        print(
            f"extra {name:5} on Python {python:7} installed in {install:4.0f} s, smoke test passed in {test:3.0f} s",
            flush=True,
        )

    with ThreadPoolExecutor(max_workers=2) as pool:
        for name in names:  # `jax` comes first, so that what `tf` waits for is running
            running[name] = pool.submit(one, name)
        for future in running.values():
            future.result()


def check_wheel() -> None:
    """Check the wheel's contents and use it from a fresh environment."""
    wheel = build_wheel()
    check_contents(wheel)
    smoke("edge", f"{wheel}[edge]", ROOT / "constraints.txt")
    size = wheel.stat().st_size
    print(f"wheel {wheel.name} ({size:,} bytes) holds every package and answers with the weights that ship")


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
