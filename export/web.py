"""A static page that answers with a bundle in the browser: `zoo web FILE.tflite -o site/`.

The folder holds the client's own modules, the unchanged `.tflite` file and LiteRT.js, and needs nothing from elsewhere.
LiteRT.js comes from a folder of the user's or is installed once with npm into the user's cache; none of it is part of
this package.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from zoo.errors import ExportError
from zoo.export.bundle import SIGNATURE, read_bundle
from zoo.files import cache_folder, read_json, replace_folder, write_json

LITERT_VERSION = "2.5.3"
"""The version of both packages the client is tested with."""
PACKAGES = ("@litertjs/core", "@litertjs/wasm-utils")

SITE = "site.json"
FORMAT = "attention-zoo site"
TASKS = ("captioning", "text_classification", "forecasting")

_CLIENT = Path(__file__).parent / "clients" / "web"
_IMPORT = '"@litertjs/wasm-utils"'
# The `compat` pair is for browsers without relaxed SIMD.
_WASM = tuple(f"litert_wasm_{kind}internal.{end}" for kind in ("", "compat_") for end in ("js", "wasm"))
_INSTALL_SECONDS = 600.0


def write_site(
    path: str | os.PathLike[str], out: str | os.PathLike[str], *, litert_dir: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Write the page's folder beside its destination, then rename it.

    Args:
        path: The `.tflite` file.
        out: The folder: new, empty, or a page written before.
        litert_dir: A folder in which `npm install` has put LiteRT.js; the user's cache when not given.

    Returns:
        `site` (the folder), `model`, `task`, `files` and `bytes` (of all files).

    Raises:
        ModelFileError: If the bundle cannot be read or trusted.
        ExportError: If its task has no page, the folder holds something else, or LiteRT.js cannot be found.
        ZooError: If the folder cannot be written.
    """
    file, site = Path(path), Path(out)
    bundle = read_bundle(file)
    if bundle.task not in TASKS:
        raise ExportError(f"There is no page for the task '{bundle.task}'; there is one for {', '.join(TASKS)}.")
    batches = {item["shape"][0] for item in bundle.signatures.get(SIGNATURE, {}).get("inputs", {}).values()}
    if batches - {1}:
        raise ExportError(f"'{file}' answers {max(batches)} inputs at once; the page needs a file exported for one.")
    _check_replaceable(site)
    packages = _packages(Path(litert_dir)) if litert_dir is not None else _installed()

    def fill(folder: Path) -> None:
        for source in sorted(_CLIENT.iterdir()):
            shutil.copyfile(source, folder / source.name)
        _copy_litert(packages, folder / "litert")
        model = f"{re.sub(r'[^A-Za-z0-9_-]+', '-', file.stem).strip('-') or 'model'}.tflite"
        shutil.copyfile(file, folder / model)
        about = {"format": FORMAT, "model": model, "bytes": (folder / model).stat().st_size}
        write_json(folder / SITE, {**about, "litert": LITERT_VERSION})

    replace_folder(site, fill)
    files = [each for each in site.rglob("*") if each.is_file()]
    return {
        "site": os.fspath(site),
        "model": os.fspath(file),
        "task": bundle.task,
        "files": len(files),
        "bytes": sum(each.stat().st_size for each in files),
    }


def _check_replaceable(site: Path) -> None:
    """Refuse to put the page in the place of anything but a page."""
    if not site.is_dir() or not any(site.iterdir()):
        return
    if not (site / SITE).is_file() or read_json(site / SITE).get("format") != FORMAT:
        raise ExportError(f"'{site}' holds something else than a page of 'zoo web'; give a new folder.")


def _packages(folder: Path) -> dict[str, Path]:
    """Return the folder of each package under what `npm install` made, at the version the client is tested with."""
    found = {}
    for name in PACKAGES:
        places = [folder / "node_modules" / name, folder / name, folder / name.rpartition("/")[2]]
        place = next((each for each in places if (each / "package.json").is_file()), None)
        if place is None:
            raise ExportError(
                f"'{folder}' holds no {name}; run 'npm install {_wanted()}' in it, or leave out --litert-dir."
            )
        version = read_json(place / "package.json").get("version")
        if version != LITERT_VERSION:
            raise ExportError(
                f"'{place}' is version {version}; the page needs {LITERT_VERSION}: npm install {_wanted()}."
            )
        found[name] = place
    return found


def _installed() -> dict[str, Path]:
    """Return the packages in the user's cache, after installing them there if they are not."""
    folder = cache_folder() / f"litert-{LITERT_VERSION}"
    if not folder.is_dir():
        replace_folder(folder, _install)
    return _packages(folder)


def _install(folder: Path) -> None:
    otherwise = f"elsewhere run 'npm install {_wanted()}' and give that folder with --litert-dir"
    npm = shutil.which("npm")
    if npm is None:
        raise ExportError(
            f"LiteRT.js is installed with npm, which is not on this machine; install Node.js, or {otherwise}."
        )
    write_json(folder / "package.json", {"private": True})
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", *_wanted().split()]
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=_INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"npm took over {_INSTALL_SECONDS:g} s to install LiteRT.js; try again, or {otherwise}."
        ) from error
    except OSError as error:
        raise ExportError(f"npm could not be started ({error.strerror or error}); mend it, or {otherwise}.") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines()]
        said = next((line for line in lines if line.startswith("npm error")), "npm printed no reason")
        raise ExportError(f"npm could not install LiteRT.js ({said[:200]}); check the network, or {otherwise}.")


def _copy_litert(packages: dict[str, Path], folder: Path) -> None:
    """Copy what the page needs of LiteRT.js; its one import by name becomes one by path, as workers need."""
    core, utilities = (packages[name] for name in PACKAGES)
    folder.mkdir()
    (folder / "wasm").mkdir()
    try:
        script = (core / "dist" / "index.js").read_text(encoding="utf-8")
        if script.count(_IMPORT) != 1:
            raise ExportError(f"'{core}' is not LiteRT.js {LITERT_VERSION} as published; install it again.")
        (folder / "index.js").write_text(script.replace(_IMPORT, '"./wasm-utils.js"'), encoding="utf-8")
        shutil.copyfile(utilities / "dist" / "index.js", folder / "wasm-utils.js")
        for name in _WASM:
            shutil.copyfile(core / "wasm" / name, folder / "wasm" / name)
    except FileNotFoundError as error:
        raise ExportError(f"LiteRT.js is incomplete: '{error.filename}' is missing; install it again.") from error


def _wanted() -> str:
    return " ".join(f"{name}@{LITERT_VERSION}" for name in PACKAGES)
