"""Run mypy over the package as it is installed.

`zoo.layers`, `zoo.datasets` and `zoo.export` live in top-level folders that only setuptools' `package_dir` joins to
`zoo`, and mypy cannot follow that mapping. So it is given a tree of symbolic links with the installed shape, and the
paths in its messages are put back.
"""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / ".cache" / "types"


def package_folders(root: Path) -> dict[str, str]:
    """Read the mapping of import packages to folders from setup.cfg.

    Args:
        root: The repository's folder.

    Returns:
        `{"zoo.layers": "layers", ...}`, without the package `zoo` itself.
    """
    parser = configparser.ConfigParser()
    parser.read(root / "setup.cfg", encoding="utf-8")
    lines = parser["options"]["package_dir"].strip().splitlines()
    pairs = dict([part.strip() for part in line.split("=")] for line in lines)
    return {package: folder for package, folder in pairs.items() if package != "zoo"}


def build_tree(root: Path, tree: Path) -> None:
    """Fill `tree/zoo` with links to the sources, in the installed shape."""
    target = tree / "zoo"
    target.mkdir(parents=True, exist_ok=True)
    links = {path.name: path for path in (root / "zoo").iterdir() if path.name != "__pycache__"}
    links.update({package.removeprefix("zoo."): root / folder for package, folder in package_folders(root).items()})
    for stale in target.iterdir():
        stale.unlink()
    for name, source in links.items():
        (target / name).symlink_to(os.path.relpath(source, target))


def main() -> int:
    """Run mypy; arguments of the command line are passed on."""
    build_tree(ROOT, TREE)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "setup.cfg")]
    command += ["--cache-dir", str(ROOT / ".mypy_cache"), "-p", "zoo", *sys.argv[1:]]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)
    folders = "|".join(package_folders(ROOT).values())
    sys.stdout.write(re.sub(rf"^zoo/(?=(?:{folders})/)", "", done.stdout, flags=re.MULTILINE))
    sys.stderr.write(done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
