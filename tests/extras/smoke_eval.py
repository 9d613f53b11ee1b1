"""The extra `eval`: metrics, plain baselines and pictures of them, with neither Keras nor TensorFlow."""

from __future__ import annotations

import importlib.util

import numpy as np
from PIL import Image

from zoo.explain.pictures import confusion_matrix_picture, forecast_fan_picture
from zoo.metrics.baselines_text import tfidf_logistic
from zoo.metrics.captions import caption_metrics
from zoo.metrics.classification import classification_metrics

for name in ("keras", "tensorflow", "jax", "tokenizers", "ai_edge_litert"):
    assert importlib.util.find_spec(name) is None, f"{name} is installed by the extra eval"

captions = ["a red circle", "a blue square on a table", "two green cats"]
scores = caption_metrics(captions, [[caption] for caption in captions])
assert scores["exact_match"] == scores["rouge_l"] == 1, scores
assert scores["cider"] > 5, scores

texts = ["good fine day", "good sweet day", "bad sour day", "bad grim day"] * 5
labels = np.array([1, 1, 0, 0] * 5)
probabilities = tfidf_logistic(texts, labels, ["a good day", "a bad day"])
metrics = classification_metrics(np.array([1, 0]), probabilities, ["no", "yes"])
assert metrics["accuracy"] == 1, metrics

confusion_matrix_picture(metrics["confusion"], ["no", "yes"], "confusion.png")
history = np.linspace(90, 100, 20, dtype=np.float32)
mean = np.linspace(100, 103, 4, dtype=np.float32)
quantiles = mean[:, None] + np.array([-2, 0, 2], np.float32)
forecast_fan_picture(history, None, mean, quantiles, (0.1, 0.5, 0.9), None, "A forecast", "fan.png")
for picture in ("confusion.png", "fan.png"):
    assert np.ptp(np.asarray(Image.open(picture).convert("L"))) > 50, f"{picture} is blank"
