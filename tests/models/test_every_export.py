"""Every registered architecture, with its `tiny()` configuration and random weights, through every export."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

import zoo
from zoo import datasets
from zoo.export.runtime import Edge
from zoo.export.verify import verify_file
from zoo.registry import architecture
from zoo.run import Run
from zoo.tasks import get_task
from zoo.weights import save_weights

NAMES = zoo.list_models()


def make_run(name: str, path_of: Callable[[str], Path], folder: Path) -> Run:
    """Return a stored run on real data whose weights are all moved, so that its answers depend on its inputs."""
    cls = architecture(name)
    task = get_task(cls.task)
    options = task.data_options(cls.tiny())
    data = datasets.load(path_of(cls.task), task=cls.task, **options)
    preprocessor = task.preprocessor(cls.tiny(), data)
    run = Run(
        name=name,
        config=task.configure(cls.tiny(), preprocessor),
        preprocessor=preprocessor,
        data={"reference": str(path_of(cls.task)), "options": options},
    )
    keras.utils.set_random_seed(1)
    for weight in run.model.trainable_weights:
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.1))
    run.save(folder)
    save_weights(run.model, folder / "model.safetensors")
    return run


@pytest.mark.parametrize("name", NAMES)
def test_float32_answers_as_keras(name: str, tiny_data: Callable[[str], Path], tmp_path: Path) -> None:
    run = make_run(name, tiny_data, tmp_path / "run")
    report = run.export(tmp_path / "model.tflite")
    assert report["agreement"]["same"] == report["agreement"]["of"] > 0
    assert verify_file(tmp_path / "model.tflite")["passed"]
    requests = run.task.requests(run.dataset().split("test"), run.preprocessor, limit=8)
    edge = Edge(tmp_path / "model.tflite")
    answers = [
        edge.run({key: array[i : i + 1] for key, array in requests.inputs.items()}) for i in range(len(requests))
    ]
    expected = run.serving_outputs(requests.inputs)
    actual = {key: np.stack([answer[key].reshape(expected[key].shape[1:]) for answer in answers]) for key in expected}
    assert run.task.agreement(expected, actual).all()
    assert len({answer[run.task.serving(run.model).outputs[-1]].tobytes() for answer in answers}) > 1


@pytest.mark.full
@pytest.mark.parametrize("quantize", ["float16", "dynamic", "int8"])
@pytest.mark.parametrize("name", NAMES)
def test_quantised_files_load_and_answer(
    name: str, quantize: str, tiny_data: Callable[[str], Path], tmp_path: Path
) -> None:
    run = make_run(name, tiny_data, tmp_path / "run")
    report = run.export(tmp_path / "model.tflite", quantize=quantize)
    assert report["quantize"] == quantize and verify_file(tmp_path / "model.tflite")["passed"]


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_saved_model_answers_without_this_package(name: str, tiny_data: Callable[[str], Path], tmp_path: Path) -> None:
    run = make_run(name, tiny_data, tmp_path / "run")
    run.export(tmp_path / "saved_model")
    requests = run.task.requests(run.dataset().split("test"), run.preprocessor, limit=2)
    one = {key: array[:1] for key, array in requests.inputs.items()}
    np.savez(tmp_path / "in.npz", **one)
    code = f"""
import sys
sys.modules["zoo"] = None  # importing it raises
import numpy as np
import tensorflow as tf
model = tf.saved_model.load({str(tmp_path / "saved_model")!r}).signatures["serving_default"]
inputs = np.load({str(tmp_path / "in.npz")!r})
outputs = model(**{{key: tf.constant(inputs[key]) for key in inputs.files}})
np.savez({str(tmp_path / "out.npz")!r}, **{{key: value.numpy() for key, value in outputs.items()}})
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    actual = dict(np.load(tmp_path / "out.npz"))
    expected = run.serving_outputs(one, batch_size=1)
    actual = {key: actual[key].reshape(expected[key].shape) for key in expected}
    assert run.task.agreement(expected, actual).all()


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_backends_agree(name: str, tiny_data: Callable[[str], Path], tmp_path: Path) -> None:
    """The same stored run answers the same under TensorFlow and under JAX, each in a process of its own."""
    make_run(name, tiny_data, tmp_path / "run")
    code = """
import json, sys
import numpy as np
import zoo
run = zoo.load(sys.argv[1])
requests = run.task.requests(run.dataset().split("test"), run.preprocessor, limit=6)
outputs = run.serving_outputs(requests.inputs, batch_size=3)
np.savez(sys.argv[2], **outputs)
import keras
print(json.dumps(keras.backend.backend()))
"""
    outputs = {}
    for backend in ("tensorflow", "jax"):
        path = tmp_path / f"{backend}.npz"
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, str(tmp_path / "run"), str(path)],
            env={**os.environ, "KERAS_BACKEND": backend},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert json.loads(done.stdout.splitlines()[-1]) == backend
        outputs[backend] = dict(np.load(path))
    for key, value in outputs["tensorflow"].items():
        np.testing.assert_allclose(outputs["jax"][key], value, rtol=1e-3, atol=1e-4, err_msg=key)
