"""The caption of the nearest training picture, as a pretrained encoder sees pictures: what a captioner must beat."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.api import build_from_config
from zoo.datasets import Source
from zoo.metrics.baselines_captions_features import nearest_features_captions
from zoo.training.features import stored_features

if TYPE_CHECKING:
    from zoo.run import Run

_BATCH = 32


def nearest_by_encoder(
    run: Run, source: Source, kept: Sequence[int], captions: Sequence[Sequence[str]], images: np.ndarray
) -> list[str]:
    """Return the central caption of the training picture whose mean features are nearest, by cosine.

    The encoder has its published weights, whatever training has made of them. Features of the training pictures are
    those that training keeps on disk.

    Args:
        run: Of a captioner with a pretrained encoder.
        source: The training split.
        kept: The records of it that are looked at.
        captions: Of these records.
        images: uint8 (M, H, W, 3).

    Raises:
        ZooError: If the encoder's published weights, or room for the features, cannot be had.
    """
    model = build_from_config(run.name, run.config)
    run.architecture.load_parts(model, run.config)
    extract: Any = run.architecture.cut(model, run.config, captions=1).extract  # type: ignore[attr-defined]
    stored = stored_features(extract, source, "none", functools.partial(print, file=sys.stderr)).views[0]
    known = np.stack([stored[index].mean(axis=(0, 1), dtype=np.float32) for index in kept])
    parts = [extract.predict_on_batch(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    asked = np.concatenate([np.asarray(part).mean(axis=(1, 2)) for part in parts])
    language = run.preprocessor.language or "en"  # type: ignore[attr-defined]
    return nearest_features_captions(known, captions, asked, language)
