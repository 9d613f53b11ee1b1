"""Install what the test of the browser client needs: Chromium and, in .cache/browser, LiteRT.js and playwright-core.

Chromium is installed with apt where it is missing and this runs as root; elsewhere install it yourself. Node.js 18 or
newer with npm must be there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from zoo.export.web import LITERT_VERSION, PACKAGES

FOLDER = Path(__file__).resolve().parent.parent / ".cache" / "browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVER = "playwright-core@1.65.1"


def main() -> int:
    """Install what is missing; 1 if something cannot be."""
    if not any(map(shutil.which, BROWSERS)):
        if not shutil.which("apt-get") or os.geteuid():
            print("Chromium is missing: install it, or run this as root where there is apt.", file=sys.stderr)
            return 1
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=quiet, check=True)
        packages = ["--no-install-recommends", "chromium"]
        subprocess.run(["apt-get", "install", "-y", "-qq", *packages], env=quiet, stdout=subprocess.DEVNULL, check=True)
    npm = shutil.which("npm")
    if npm is None:
        print("npm is missing: install Node.js 18 or newer.", file=sys.stderr)
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--no-package-lock"]
    wanted = [*(f"{name}@{LITERT_VERSION}" for name in PACKAGES), DRIVER]
    subprocess.run([npm, "install", *options, *wanted], cwd=FOLDER, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
