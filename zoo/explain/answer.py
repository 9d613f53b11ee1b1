"""One picture for one answer: what the model attended to, whatever the task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.preprocess import Preprocessor
from zoo.results import Caption, Classification, Forecast, Result


def explanation_picture(preprocessor: Preprocessor, value: Any, result: Result, path: Path) -> None:
    """Draw the attention of a caption's words, the weights of a text's tokens, or a forecast after its window.

    Args:
        preprocessor: What turned `value` into the request.
        value: The input that was answered.
        result: The answer.
        path: The PNG to write.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    if isinstance(result, Caption):
        from zoo.explain.captions import caption_sheet

        image = preprocessor.request(value)["image"][0]
        item = {
            "image": image,
            "truth": (),
            "caption": result.text,
            "attention": result.attention,
            "words": [token.replace("▁", " ").strip() or "␣" for token in result.tokens],
        }
        caption_sheet([item], path, columns=1)
    elif isinstance(result, Classification):
        from zoo.explain.pictures import token_weights_picture

        tokens, weights = zip(*result.token_weights, strict=True)
        token_weights_picture(tokens, weights, str(result), path)
    elif isinstance(result, Forecast):
        from zoo.explain.pictures import forecast_fan_picture

        window = preprocessor.request(value)["window"][0]
        history = window[:, preprocessor.target_index]  # type: ignore[attr-defined]
        forecast_fan_picture(history, None, result.mean, result.quantiles, result.levels, None, str(result), path)
    else:
        raise ZooError(f"There is no picture for a {type(result).__name__}.")
