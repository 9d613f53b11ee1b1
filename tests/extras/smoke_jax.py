"""The extra `jax`, as on Colab's TPU runtime: every architecture from data to answers on JAX, with TensorFlow absent.

    python -P smoke_jax.py FOLDER

Per architecture: import, build, train two steps, TensorBoard logs, evaluate, save, load, predict, resume; and export
says what it needs. FOLDER keeps the data, the runs, and their answers, which `smoke_tf.py` compares with those of the
exported files in another environment.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from small_data import INPUTS, MAKERS, assert_same_answer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import zoo
from zoo.errors import MissingExtraError
from zoo.files import read_json, to_json
from zoo.registry import architecture

STEPS = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 8, "samples": 1, "log_every": 1}
EXPORT_NEEDS = "Export needs 'tensorflow', which is not installed; run: pip install 'attention-zoo[tf]'."


def check(name: str, folder: Path) -> None:
    """Take one architecture the whole way."""
    cls = architecture(name)
    data = folder / "data" / cls.task
    if not data.exists():
        data.mkdir(parents=True)
        MAKERS[cls.task](data)
    path = next(data.glob("*.csv"), data)  # a table of texts or prices, or the folder of the pictures

    assert zoo.build(name, **cls.tiny().to_dict()).count_params() > 0
    run = zoo.train(name, path, out=folder / name, model=cls.tiny().to_dict(), train=STEPS, quiet=True)
    assert run.folder is not None
    assert len(read_json(run.folder / "history.json")["epochs"]["val_loss"]) == 1

    for writer, tag, count in (("steps", "step/loss", 2), ("train", "epoch/loss", 1), ("validation", "epoch/loss", 1)):
        logs = EventAccumulator(str(run.folder / "logs" / writer)).Reload()
        values = [event.value for event in logs.Scalars(tag)]
        assert len(values) == count and np.isfinite(values).all(), (writer, tag, values)

    result = run.evaluate()
    assert np.isfinite(result["metrics"][result["main_metric"]]), result
    assert result["baselines"] and result["pictures"], result

    example = INPUTS[cls.task](path)
    answer = json.loads(to_json(run.predict(example).to_dict()))
    again = zoo.load(run.folder)
    assert_same_answer(answer, json.loads(to_json(again.predict(example).to_dict())), tolerance=1e-6)

    with contextlib.redirect_stderr(io.StringIO()) as heard:
        resumed = zoo.resume(run.folder)
    assert "is finished" in heard.getvalue(), heard.getvalue()
    assert_same_answer(answer, json.loads(to_json(resumed.predict(example).to_dict())), tolerance=1e-6)

    file = folder / f"{name}.tflite"
    try:
        run.export(file)
    except MissingExtraError as error:
        assert str(error) == EXPORT_NEEDS, error
    else:
        raise AssertionError("exported without TensorFlow")
    assert not file.exists()

    requests = run.task.requests(run.dataset().split("test"), run.preprocessor, limit=6)
    outputs = again.serving_outputs(requests.inputs)
    arrays = {f"input.{key}": value for key, value in requests.inputs.items()}
    np.savez(folder / f"{name}.npz", **arrays, **{f"output.{key}": value for key, value in outputs.items()})
    (folder / f"{name}.json").write_text(json.dumps({"input": example, "answer": answer}), encoding="utf-8")


assert importlib.util.find_spec("tensorflow") is None, "tensorflow is installed by the extra jax"
assert "KERAS_BACKEND" not in os.environ and "keras" not in sys.modules, "the backend must be found without being told"
kept = Path(sys.argv[1])
for registered in zoo.list_models():
    check(registered, kept)
    done = subprocess.run(
        ["zoo", "export", kept / registered, "-o", "model.tflite"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and EXPORT_NEEDS in done.stderr and "Traceback" not in done.stderr, done.stderr
assert sys.modules["keras"].backend.backend() == "jax"
assert "tensorflow" not in sys.modules
