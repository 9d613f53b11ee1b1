"""Run by the tests in a process of its own: trains one model several ways and prints the losses of every step as JSON.

    python -P variants.py '{"name": ..., "data": ..., "out": ..., "logical_cpus": 2, "variants": {"plain": {...}, ...}}'

A variant has `devices`, `model` and `train`, overrides of what all variants share.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def step_losses(run_folder: Path) -> list[float]:
    """Return the loss of every logged step of a run, from its TensorBoard files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run_folder / "logs" / "steps"), size_guidance={"tensors": 0, "scalars": 0}).Reload()
    if "step/loss" in events.Tags()["scalars"]:
        return [event.value for event in events.Scalars("step/loss")]
    return [float(event.tensor_proto.float_val[0]) for event in events.Tensors("step/loss")]


def main(request: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Train all variants."""
    import keras

    if request.get("logical_cpus") and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * request["logical_cpus"]
        )
    import zoo
    from zoo.registry import architecture

    results = {}
    for label, variant in request["variants"].items():
        out = Path(request["out"]) / label
        model = {**architecture(request["name"]).tiny().to_dict(), **variant.get("model", {})}
        train = {
            "epochs": 10,
            "steps_per_epoch": 2,
            "batch_size": 16,
            "learning_rate": 1e-3,
            "samples": 0,
            "log_every": 1,
        }
        run = zoo.train(
            request["name"],
            request["data"],
            out=out,
            devices=variant.get("devices", "one"),
            model=model,
            train={**train, **variant.get("train", {})},
            quiet=True,
        )
        history = json.loads((out / "history.json").read_text())["epochs"]
        results[label] = {"losses": step_losses(out), "history": history}
        assert run.folder == out
    return results


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
