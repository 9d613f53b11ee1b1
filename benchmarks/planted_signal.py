"""How much of a planted signal `price_attn` finds, and that it finds none where there is none.

Prices whose log returns follow an autoregression, `r_t = phi r_{t-1} + e_t`, in as many series of as many days as
`stocks` has. The best forecast is known, so the gain in mean squared error over persistence that can be had is known
too. The same model trained with the futures exchanged between windows must not gain anything.

What "anything" means: with a few thousand days the correlation of exchanged futures with the last return is about .02
by chance, and .02 beside the true .4 is worth a tenth of the attainable gain, up or down.

    python benchmarks/planted_signal.py                # a few minutes on one core
    python benchmarks/planted_signal.py --epochs 4 --series 2 --days 1500
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np


def planted_prices(days: int, phi: float, seed: int, volatility: float = 0.015) -> np.ndarray:
    """Return the closes of one series, float64 (days,)."""
    rng = np.random.default_rng(seed)
    shocks = rng.normal(0, volatility * np.sqrt(1 - phi**2), days + 100)
    returns = np.zeros(days + 100)
    for day in range(1, days + 100):
        returns[day] = phi * returns[day - 1] + shocks[day]
    return 100 * np.exp(np.cumsum(returns[100:]))


def planted_records(series: int, days: int, phi: float, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Return records by split: 60% of the days for training, 15% validation, 25% test.

    The test has every series and its mirror image (all returns negated): no drift is met there by luck.
    """
    bounds = (0, int(0.6 * days), int(0.75 * days), days)
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "valid": [], "test": []}
    for number in range(series):
        close = planted_prices(days, phi, 1000 * seed + number)
        for split, start, stop in zip(splits, bounds, bounds[1:], strict=False):
            splits[split].append(_record(f"planted{number}", close[:stop], start))
        splits["test"].append(_record(f"mirrored{number}", 1e4 / close, bounds[2]))
    return splits


def _record(name: str, close: np.ndarray, start: int) -> dict[str, Any]:
    return {
        "id": name,
        "columns": ("close",),
        "target": "close",
        "dates": np.datetime64("2000-01-01") + np.arange(len(close)),
        "values": close[:, None].astype(np.float32),
        "split_factor": np.ones(len(close), np.float32),
        "first_target": start + 64 if start else 0,
    }


def best_forecast(window: np.ndarray, phi: float, horizon: int) -> np.ndarray:
    """Return the forecast of who knows phi: the last price times exp(r (phi + phi^2 + ...)), (N, horizon)."""
    close = window[:, :, 0].astype(np.float64)
    sums = np.cumsum(phi ** np.arange(1, horizon + 1))
    return close[:, -1:] * np.exp(np.log(close[:, -1:] / close[:, -2:-1]) * sums)


class Exchanged:
    """Examples whose futures, as moves from the last price, are exchanged at random between windows."""

    def __init__(self, examples: Any, seed: int) -> None:
        self._examples = examples
        self._order = np.random.default_rng(seed).permutation(len(examples))

    def __len__(self) -> int:
        return len(self._examples)

    def batch(self, indices: np.ndarray, rng: Any) -> tuple[Any, Any, None]:
        inputs, targets, _ = self._examples.batch(indices, rng)
        others, other_targets, _ = self._examples.batch(self._order[indices], rng)
        last, other_last = inputs["window"][:, -1:, 0], others["window"][:, -1:, 0]
        future = last * other_targets["mean"][..., 0] / other_last
        targets = {name: array.copy() for name, array in targets.items()}
        for array in targets.values():
            array[..., 0] = future
        return inputs, targets, None


def measure(
    *, series: int, days: int, phi: float, epochs: int, seed: int, exchanged: bool, **model_options: Any
) -> dict[str, float]:
    """Train on planted prices and return the share of the attainable gain, on the test days.

    Returns:
        `persistence`, `best` and `model`: mean squared errors of the log price in units of persistence's; `found`:
        share of the attainable gain.
    """
    import keras

    from zoo.api import build_from_config
    from zoo.execution import compile_serving
    from zoo.models.price_attn import PriceAttn
    from zoo.preprocess.series import SeriesPreprocessor
    from zoo.registry import find_recipe
    from zoo.tasks.forecasting import TASK
    from zoo.training.config import TrainConfig
    from zoo.training.optimizer import make_optimizer
    from zoo.training.pipeline import evaluation_batches, training_batches

    recipe = find_recipe("price_attn", "stocks")
    assert recipe is not None
    splits = planted_records(series, days, phi, seed)
    config = PriceAttn.Config().replace(**{**(recipe.model or {}), **model_options})
    preprocessor = SeriesPreprocessor.fit(
        splits["train"], window=config.window, horizon=config.horizon, levels=config.levels
    )
    config = TASK.configure(config, preprocessor)
    train, valid = (TASK.examples(splits[name], preprocessor, config) for name in ("train", "valid"))
    if exchanged:
        train, valid = Exchanged(train, seed), Exchanged(valid, seed + 1)
    settings = TrainConfig().replace(**{**(recipe.train or {}), "epochs": epochs})
    keras.utils.set_random_seed(seed)
    model = build_from_config("price_attn", config)
    batch_size = min(settings.batch_size, len(train))
    steps = len(train) // batch_size
    model.compile(optimizer=make_optimizer(settings, steps * epochs), **TASK.compile_arguments())
    model.fit(
        training_batches(train, batch_size=batch_size, epochs=epochs, seed=seed),
        epochs=epochs,
        steps_per_epoch=steps,
        validation_data=evaluation_batches(valid, batch_size=batch_size),
        callbacks=[keras.callbacks.EarlyStopping("val_loss", patience=epochs, restore_best_weights=True)],
        verbose=0,
    )
    requests = TASK.requests(splits["test"], preprocessor)
    outputs = compile_serving(TASK.serving(model, batch_size=64))(requests.inputs)
    window, future = requests.inputs["window"], requests.truth["future"]

    def error(forecast: np.ndarray) -> float:
        return float((np.log(forecast / future) ** 2).mean())

    flat = error(window[:, -1, :].astype(np.float64))
    best, found = error(best_forecast(window, phi, config.horizon)) / flat, error(outputs["mean"]) / flat
    return {"persistence": 1.0, "best": best, "model": found, "found": (1 - found) / (1 - best)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--series", type=int, default=4)
    parser.add_argument("--days", type=int, default=3270)
    parser.add_argument("--phi", type=float, nargs="*", default=[0.4])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for phi in arguments.phi:
        for seed in range(arguments.seeds):
            for exchanged in (False, True):
                result = measure(
                    series=arguments.series,
                    days=arguments.days,
                    phi=phi,
                    epochs=arguments.epochs,
                    seed=seed,
                    exchanged=exchanged,
                )
                rows.append({"phi": phi, "seed": seed, "exchanged": exchanged, **result})
                if not arguments.json:
                    name = "futures exchanged" if exchanged else "planted signal"
                    print(
                        f"phi {phi}, seed {seed}, {name:17s}: error {result['model']:.4f} of persistence's, best "
                        f"{result['best']:.4f}: {result['found']:.1%} of the attainable gain",
                        flush=True,
                    )
    if arguments.json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
