"""Forecasting: a window of raw rows in, mean and quantiles of the target's next values out, in the series' own unit.

What the serving function needs of the model: input `window`, outputs `mean` and `quantiles`, and a layer "pooling"
(`AttentionPooling`) whose second output is the weight of every step. What `configure` needs of the configuration: the
fields `window`, `horizon`, `levels` and those it fills.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.config import BaseConfig
from zoo.datasets import sample_indices
from zoo.errors import ConfigError, DataError
from zoo.metrics.baselines_forecast import calibrate_standard_quantiles, drift, ewma_quantiles, persistence
from zoo.metrics.forecasts import forecast_metrics
from zoo.preprocess import RawInput
from zoo.preprocess.series import SeriesPreprocessor, volatility
from zoo.tasks._base import Requests, Serving, Task, spread
from zoo.tasks._series_examples import SeriesExamples, WindowIndex

if TYPE_CHECKING:
    import keras

    from zoo.datasets import Dataset, Record, Source

_HUBER = 3.0  # errors of the mean beyond so many units count linearly
_SHRINK = 0.08  # an expected change must be worth more than so many units
_CALIBRATED = 100_000  # most windows that a baseline is calibrated on
_FUTURE, _UNIT, _LAST, _LEVELS = 0, 1, 2, 3  # positions on the last axis of the targets


def mean_loss(truth: Any, mean: Any) -> Any:
    """Huber loss of the mean in units of volatility, (B, H): all series and steps count alike.

    A small multiple of the expected change itself is added (as the lasso does with coefficients, Tibshirani 1996): the
    forecast stays at the last value unless a pattern is worth more than the noise of a few thousand days.
    """
    from keras import ops

    error = ops.abs(truth[..., _FUTURE] - mean) / truth[..., _UNIT]
    bounded = ops.minimum(error, _HUBER)
    return bounded * (error - 0.5 * bounded) + _SHRINK * ops.abs(mean - truth[..., _LAST]) / truth[..., _UNIT]


def quantile_loss(truth: Any, quantiles: Any) -> Any:
    """Pinball loss (Koenker and Bassett 1978) in units of volatility, mean over levels, (B, H)."""
    from keras import ops

    error = (truth[..., _FUTURE : _FUTURE + 1] - quantiles) / truth[..., _UNIT : _UNIT + 1]
    levels = truth[..., _LEVELS:]
    return ops.mean(ops.maximum(levels * error, (levels - 1.0) * error), axis=-1)


def coverage(truth: Any, quantiles: Any) -> Any:
    """Whether the truth lies between the outermost quantiles, (B, H)."""
    from keras import ops

    future = truth[..., _FUTURE]
    return ops.cast((future >= quantiles[..., 0]) & (future <= quantiles[..., -1]), "float32")


class ForecastingTask(Task):
    """Forecasting of one column of a table of numbers."""

    name = "forecasting"
    summary = "A table of numbers ordered by date in; mean and quantiles of one column's next values out."
    main_metric = "pinball"
    higher_is_better = False
    input_help = "a CSV file with a header and, best, a date column; or an array (rows, columns)"
    difference_help = "largest change of a mean or quantile, relative to the largest value forecast"
    difference_steps = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)

    def data_options(self, config: Any) -> dict[str, Any]:
        """See `Task`: between the splits lies a gap of one window, and a series is at least one window long."""
        return {"gap": config.window}

    def preprocessor(self, config: Any, dataset: Dataset) -> SeriesPreprocessor:
        """See `Task`."""
        return SeriesPreprocessor.fit(
            dataset.split("train"), window=config.window, horizon=config.horizon, levels=config.levels
        )

    def configure(self, config: Any, preprocessor: Any) -> BaseConfig:
        """See `Task`: fills the number and kinds of columns and the smallest volatility."""
        filled: BaseConfig = config.replace(
            window=preprocessor.window,
            horizon=preprocessor.horizon,
            levels=preprocessor.levels,
            features=len(preprocessor.columns),
            target=preprocessor.target_index,
            price_columns=preprocessor.price_columns,
            log_columns=preprocessor.log_columns,
            log_prices=preprocessor.log_prices,
            scale_floor=preprocessor.scale_floor,
        )
        return filled

    def default_preprocessor(self, config: Any) -> SeriesPreprocessor:
        """See `Task`: open, high, low, close and volume, or numbered columns if the configuration has not five."""
        names = ("open", "high", "low", "close", "volume")
        columns = names if config.features == 5 else tuple(f"column_{i}" for i in range(config.features))
        return SeriesPreprocessor(
            columns=columns,
            target=columns[config.target],
            window=config.window,
            horizon=config.horizon,
            levels=config.levels,
            price_columns=config.price_columns,
            log_columns=config.log_columns,
            log_prices=config.log_prices,
            scale_floor=config.scale_floor,
        )

    def default_record(self, config: Any) -> Record:
        """See `Task`: a series of one window and its horizon."""
        preprocessor = self.default_preprocessor(config)
        rows = config.window + config.horizon
        return {
            "id": "0",
            "columns": preprocessor.columns,
            "target": preprocessor.target,
            "dates": np.datetime64("2020-01-01") + np.arange(rows),
            "values": 100 + np.random.default_rng(0).random((rows, config.features), np.float32),
            "split_factor": np.ones(rows, np.float32),
            "first_target": 0,
        }

    def examples(self, source: Source, preprocessor: Any, config: Any) -> SeriesExamples:
        """See `Task`."""
        return SeriesExamples(source, preprocessor)

    def compile_arguments(self, *, label_smoothing: float = 0.0) -> dict[str, Any]:
        """See `Task`; the loss is the sum of `mean_loss` and `quantile_loss`. There are no labels to smooth."""
        from zoo.tasks._weighted_loss import WeightedLoss

        return {
            "loss": {
                "mean": WeightedLoss(mean_loss, "mean_loss"),
                "quantiles": WeightedLoss(quantile_loss, "quantile_loss"),
            },
            "weighted_metrics": {"quantiles": [coverage]},
        }

    def serving(self, model: keras.Model, *, batch_size: int = 1, **options: Any) -> Serving:
        """See `Task`; there are no options."""
        import keras

        if options:
            raise ConfigError(f"Forecasting has no serving option {', '.join(map(repr, options))}; leave it out.")
        weights = model.get_layer("pooling").output[1]
        full = keras.Model(model.input, [model.output["mean"], model.output["quantiles"], weights], name="explained")

        def serve(window: Any) -> dict[str, Any]:
            mean, quantiles, step_weights = full({"window": window}, training=False)
            return {
                "mean": keras.ops.cast(mean, "float32"),
                "quantiles": keras.ops.cast(quantiles, "float32"),
                "step_weights": keras.ops.cast(step_weights, "float32"),
            }

        _, window, features = model.input["window"].shape
        return Serving(
            function=serve,
            inputs={"window": ((batch_size, window, features), "float32")},
            outputs=("mean", "quantiles", "step_weights"),
            model=model,
            batch_size=batch_size,
        )

    def requests(
        self, source: Source, preprocessor: Any, *, limit: int | None = None, training: Source | None = None
    ) -> Requests:
        """See `Task`; truth has `future` (N, H), `times` (N,), `dates` (N, W + H) and `series` (N names)."""
        windows = WindowIndex(source, preprocessor)
        chosen = spread(len(windows), limit or None) if len(windows) else np.zeros(0, np.int64)
        parts: dict[str, list[np.ndarray]] = {name: [] for name in ("window", "future", "times", "dates", "series")}
        ends: list[tuple[int, int]] = []
        for series, cut, _, positions in windows.groups(chosen):
            record = source[series]
            rows = cut.ends[positions][:, None] + np.arange(1 - cut.window, cut.horizon + 1)
            dates = np.asarray(record["dates"], "datetime64[s]")
            parts["window"].append(cut.inputs(positions))
            parts["future"].append(cut.futures(positions))
            parts["times"].append(dates[cut.ends[positions]])
            parts["dates"].append(dates[rows])
            parts["series"].append(np.full(len(positions), record["id"], dtype=object))
            ends += [(series, int(end)) for end in cut.ends[positions]]
        if not ends:
            raise DataError("The split has no window: its series are shorter than the window and the horizon.")
        whole = {name: np.concatenate(arrays) for name, arrays in parts.items()}

        def raw(index: int) -> RawInput:
            series, end = ends[index]
            record = source[series]
            rows = slice(end + 1 - preprocessor.window, end + 1)
            return preprocessor.raw(*(np.asarray(record[name])[rows] for name in ("dates", "values", "split_factor")))

        return Requests(
            inputs={"window": whole.pop("window")},
            truth=whole,
            ids=[
                f"{series}@{str(time).removesuffix('T00:00:00')}"
                for series, time in zip(whole["series"], whole["times"], strict=True)
            ],
            raw=raw,
        )

    def score(
        self, outputs: Mapping[str, np.ndarray], requests: Requests, preprocessor: Any, *, slow: bool = False
    ) -> dict[str, Any]:
        """See `Task` and `forecast_metrics`; `per_series` has the metrics of every series."""
        return _score(outputs["mean"], outputs["quantiles"], requests, preprocessor)

    def baselines(
        self,
        dataset: Dataset,
        split: str,
        preprocessor: Any,
        requests: Requests,
        *,
        run: Any = None,
        slow: bool = False,
    ) -> dict[str, dict[str, Any]]:
        """See `Task`: persistence, drift, and bands of EWMA volatility with normal and with calibrated quantiles.

        `ewma` has the normal distribution's quantiles; `ewma_calibrated` those that the scaled moves of the training
        split had (for positive prices only; of over 100,000 windows so many, spread evenly). The bands of persistence
        and drift have no width.
        """
        pre: SeriesPreprocessor = preprocessor
        known = requests.inputs["window"][:, :, pre.target_index].astype(np.float64)
        flat = persistence(known[:, -1], pre.horizon)
        paths = {"persistence": flat, "drift": drift(known, pre.horizon)}
        forecasts = {name: (path, np.repeat(path[..., None], len(pre.levels), -1)) for name, path in paths.items()}
        if pre.log_prices:
            forecasts["ewma"] = flat, ewma_quantiles(known, pre.horizon, pre.levels)
            windows = WindowIndex(dataset.split("train"), pre)
            train, future = windows.gather(sample_indices(len(windows), _CALIBRATED))
            standard = calibrate_standard_quantiles(train[..., pre.target_index], future, pre.levels)
            bands = ewma_quantiles(known, pre.horizon, pre.levels, standard_quantiles=standard)
            forecasts["ewma_calibrated"] = flat, bands
        else:
            scale = volatility(known, log_prices=False, floor=pre.scale_floor)
            z = np.array([NormalDist().inv_cdf(level) for level in pre.levels])
            spread = scale[:, None] * np.sqrt(np.arange(1, pre.horizon + 1))
            forecasts["ewma"] = flat, flat[..., None] + spread[..., None] * z
        return {name: _score(mean, bands, requests, pre) for name, (mean, bands) in forecasts.items()}

    def agreement(self, expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Task`: every value within 1e-4 of the size of the largest one forecast for the example."""
        same = np.ones(len(expected["mean"]), bool)
        for name in ("mean", "quantiles"):
            left = np.asarray(expected[name], np.float64).reshape(len(same), -1)
            right = np.asarray(actual[name], np.float64).reshape(len(same), -1)
            size = np.abs(left).max(axis=1, keepdims=True)
            same &= (np.abs(left - right) <= 1e-4 * size + 1e-12).all(axis=1)
        return same

    def difference(self, expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Task`: the largest change of a mean or quantile, relative to the largest value forecast."""
        left, right = (
            np.concatenate([np.reshape(outputs[name], (len(outputs["mean"]), -1)) for name in ("mean", "quantiles")], 1)
            for outputs in (expected, actual)
        )
        size = np.abs(left, dtype=np.float64).max(axis=1)
        return np.abs(np.subtract(left, right, dtype=np.float64)).max(axis=1) / np.maximum(size, 1e-12)

    def example(self, requests: Requests, index: int, preprocessor: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Task`: the target's known values (W,) and what followed (H,)."""
        known = requests.inputs["window"][index, :, preprocessor.target_index]
        return known, requests.truth["future"][index] if requests.truth is not None else None

    def pictures(
        self,
        folder: Path,
        outputs: Mapping[str, np.ndarray],
        requests: Requests,
        preprocessor: Any,
    ) -> list[Path]:
        """See `Task`: the last forecast of up to six series."""
        paths: list[Path] = []
        for name, row in list(_last_rows(requests).items())[:6]:
            safe = "".join(char if char.isalnum() or char in "-_" else "_" for char in name)[:64] or "series"
            paths.append(folder / f"forecast_{len(paths)}_{safe}.png")
            _draw(row, outputs, requests, preprocessor, paths[-1])
        return paths

    def samples(
        self, outputs: Mapping[str, np.ndarray], requests: Requests, preprocessor: Any
    ) -> tuple[str, Sequence[np.ndarray]]:
        """See `Task`: a table of all examples and the forecast fans of up to four series."""
        from PIL import Image

        low, high = (f"{preprocessor.levels[i]:.0%}" for i in (0, -1))
        lines = [f"| series | last | mean | {low} to {high} | truth |", "|---|---|---|---|---|"]
        known = requests.inputs["window"][:, -1, preprocessor.target_index]
        for row, name in enumerate(requests.ids):
            band = outputs["quantiles"][row, -1]
            lines.append(
                f"| {name} | {known[row]:.6g} | {outputs['mean'][row, -1]:.6g} | {band[0]:.6g} to {band[-1]:.6g} "
                f"| {requests.truth['future'][row, -1]:.6g} |"
            )
        images = []
        with tempfile.TemporaryDirectory() as folder:
            for row in list(_last_rows(requests).values())[:4]:
                path = Path(folder) / "fan.png"
                _draw(row, outputs, requests, preprocessor, path)
                images.append(np.asarray(Image.open(path).convert("RGB")))
        return "\n".join(lines), images


def _score(
    mean: np.ndarray, quantiles: np.ndarray, requests: Requests, preprocessor: SeriesPreprocessor
) -> dict[str, Any]:
    known = requests.inputs["window"][:, :, preprocessor.target_index]
    return forecast_metrics(
        mean,
        quantiles,
        preprocessor.levels,
        requests.truth["future"],
        known[:, -1],
        history=known,
        times=requests.truth["times"],
        series=requests.truth["series"],
    )


def _last_rows(requests: Requests) -> dict[str, int]:
    """Return the row of the latest request of every series."""
    return {str(name): row for row, name in enumerate(requests.truth["series"])}


def _draw(
    row: int,
    outputs: Mapping[str, np.ndarray],
    requests: Requests,
    preprocessor: SeriesPreprocessor,
    path: Path,
) -> None:
    from zoo.explain.pictures import forecast_fan_picture

    forecast_fan_picture(
        requests.inputs["window"][row, :, preprocessor.target_index],
        requests.truth["dates"][row],
        outputs["mean"][row],
        outputs["quantiles"][row],
        preprocessor.levels,
        requests.truth["future"][row],
        f"{preprocessor.target} of {requests.ids[row]}",
        path,
    )


TASK = ForecastingTask()
