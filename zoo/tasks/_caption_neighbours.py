"""The caption of the nearest training picture, as a pretrained encoder sees pictures: what a captioner must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.api import build_from_config
from zoo.datasets import Dataset, sample_indices
from zoo.metrics.baselines_captions_features import nearest_features_captions
from zoo.preprocess.image import load_image
from zoo.tasks._caption_examples import SAMPLED
from zoo.training.features import FrozenFeatures, turns_of

if TYPE_CHECKING:
    from zoo.run import Run

_BATCH = 32


def nearest_by_encoder(run: Run, dataset: Dataset, images: np.ndarray) -> list[str]:
    """Return the central caption of the training picture whose mean features are nearest, by cosine.

    The encoder has its published weights, whatever training has made of them. Features of the training pictures are
    those that training keeps on disk; of over 50,000 pictures so many are looked at, spread evenly.

    Args:
        run: Of a captioner with a pretrained encoder.
        dataset: Its training split is searched.
        images: uint8 (M, H, W, 3).
    """
    config, preprocessor = run.config, run.preprocessor
    model = build_from_config(run.name, config)
    run.architecture.load_parts(model, config)
    extract: Any = run.architecture.cut(model, config, captions=1).extract  # type: ignore[attr-defined]
    source = dataset.split("train")
    size = preprocessor.image_size  # type: ignore[attr-defined]
    store = FrozenFeatures(extract, source, lambda image: load_image(image, size), turns_of("none"), lambda text: None)
    kept = sample_indices(len(source), SAMPLED)
    known = np.stack([store.views[0][index].mean(axis=(0, 1), dtype=np.float32) for index in kept.tolist()])
    parts = [extract.predict_on_batch(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    asked = np.concatenate([np.asarray(part).mean(axis=(1, 2)) for part in parts])
    captions = [source[index]["captions"] for index in kept.tolist()]
    return nearest_features_captions(known, captions, asked, preprocessor.language or "en")  # type: ignore[attr-defined]
