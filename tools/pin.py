"""Write the versions of this environment to constraints.txt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEADER = """\
# Versions of the green environment: pip install -c constraints.txt -e '.[tf,demo]'
# Renewed by `make constraints` after upgrading .venv.
"""


def main() -> int:
    """Freeze everything but pip and this project."""
    command = [sys.executable, "-m", "pip", "freeze", "--all", "--exclude", "pip", "--exclude-editable"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = sorted(done.stdout.splitlines(), key=str.lower)
    strange = [line for line in lines if "==" not in line]
    if strange:
        print(f"Not from a package index: {', '.join(strange)}; install a released version first.", file=sys.stderr)
        return 1
    path = Path(__file__).resolve().parent.parent / "constraints.txt"
    path.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
