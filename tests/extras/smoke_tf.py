"""The extra `tf`: what `smoke_jax.py` trained without TensorFlow is exported, and answers from the .tflite as on JAX.

    python -P smoke_tf.py FOLDER        # the folder that smoke_jax.py has filled

Then one model is trained here too, and answers from its .tflite as Keras does; and the weights that ship answer.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from small_data import INPUTS, MAKERS, assert_same_answer, shipped_inputs

import zoo
from zoo.errors import MissingExtraError
from zoo.export.runtime import Edge
from zoo.files import read_json, to_json
from zoo.registry import architecture


def check(name: str, folder: Path) -> None:
    """Export a run that was trained on JAX, through the gate, and compare answers with those it gave there."""
    run = zoo.load(folder / name)
    versions = read_json(folder / name / "run.json")["versions"]
    assert "jax" in versions and "tensorflow" not in versions, versions
    file = Path(f"{name}.tflite")
    report = run.export(file)
    assert report["agreement"]["same"] == report["agreement"]["of"] > 0, report["agreement"]

    edge = Edge(file)
    stored = np.load(folder / f"{name}.npz")
    arrays: dict[str, dict[str, np.ndarray]] = {"input": {}, "output": {}}
    for key in stored.files:
        kind, _, tensor = key.partition(".")
        arrays[kind][tensor] = stored[key]
    expected = arrays["output"]
    answers = [
        edge.run({key: array[i : i + 1] for key, array in arrays["input"].items()})
        for i in range(len(next(iter(expected.values()))))
    ]
    actual = {key: np.stack([answer[key].reshape(expected[key].shape[1:]) for answer in answers]) for key in expected}
    assert run.task.agreement(expected, actual).all(), name
    for key, value in expected.items():
        np.testing.assert_allclose(actual[key], value, rtol=1e-3, atol=1e-4, err_msg=f"{name}: {key}")

    asked = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    answer = json.loads(to_json(edge.predict(asked["input"]).to_dict()))
    assert_same_answer(asked["answer"], answer, tolerance=1e-3, where=name)


assert importlib.util.find_spec("jax") is None, "jax is installed by the extra tf"
kept = Path(sys.argv[1])
for registered in zoo.list_models():
    check(registered, kept)
assert keras.backend.backend() == "tensorflow"

prices = MAKERS["forecasting"](Path.cwd())
tiny = architecture("price_attn").tiny().to_dict()
steps = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 8}
trained = zoo.train("price_attn", prices, out="price", model=tiny, train=steps, quiet=True)
result = trained.evaluate()
assert np.isfinite(result["metrics"][result["main_metric"]]), result
trained.export("price.tflite")
example = INPUTS["forecasting"](prices)
there, here = (json.loads(to_json(one.predict(example).to_dict())) for one in (Edge("price.tflite"), trained))
assert_same_answer(here, there, tolerance=1e-4)

inputs = shipped_inputs(Path.cwd())
for name, given in inputs.items():
    answer = zoo.load(name).predict(given).to_dict()
    assert answer.get("text") or answer.get("label") or np.isfinite(answer["mean"]).all(), (name, answer)
    parts = name.split("/")
    assert zoo.build(parts[0], weights=parts[1]).count_params() > 0
command = ["zoo", "predict", "caption_attn/emoji-en", inputs["caption_attn/emoji-en"]]
done = subprocess.run(command, capture_output=True, text=True, check=False)
assert done.returncode == 0 and done.stdout.strip(), done
try:
    zoo.load("caption_attn/emoji-en").evaluate()
except MissingExtraError as error:
    assert "attention-zoo[demo]" in str(error), error
else:
    raise AssertionError("evaluated without the data")
