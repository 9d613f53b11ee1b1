"""Data files inside installed packages, found without importing the packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from zoo.errors import DataError, MissingExtraError


def package_file(package: str, relative: str, *, distribution: str, extra: str = "demo") -> Path:
    """Return the path of a file or folder that an installed top-level package carries; the package is not imported.

    Args:
        package: Import name of the package.
        relative: Path inside the package.
        distribution: Name under which pip knows the package.
        extra: The extra of this distribution that installs it.

    Raises:
        MissingExtraError: If the package is not installed.
        DataError: If the package is there and the file is not (another version).
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"This data is carried by '{distribution}', which is not installed; "
            f"run: pip install 'attention-zoo[{extra}]'."
        )
    path = Path(spec.submodule_search_locations[0], relative)
    if not path.exists():
        raise DataError(f"The installed '{distribution}' has no '{relative}'; reinstall: 'attention-zoo[{extra}]'.")
    return path
