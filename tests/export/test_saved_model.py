"""The SavedModel: readable without this package, by name, with static shapes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from zoo.errors import ExportError, ZooError
from zoo.export.saved_model import write_saved_model
from zoo.tasks import Serving


def make_serving(**changes: object) -> Serving:
    keras.utils.set_random_seed(1)
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    model = keras.Model({"left": left, "right": right}, keras.layers.Dense(4)(ops.concatenate([left, right], -1)))

    def function(right: object, left: object) -> dict[str, object]:
        logits = model({"left": left, "right": ops.cast(right, "float32")})
        return {"probabilities": ops.softmax(logits), "biggest": ops.max(logits, axis=-1)}

    fields = {
        "function": function,
        "inputs": {"right": ((1, 2), "uint8"), "left": ((1, 3), "float32")},
        "outputs": ("probabilities", "biggest"),
        "model": model,
    }
    return Serving(**{**fields, **changes})  # type: ignore[arg-type]


def test_loads_in_a_process_without_this_package(tmp_path: Path) -> None:
    serving = make_serving()
    write_saved_model(serving, tmp_path / "saved")
    left, right = np.float32([[1, -2, 0.5]]), np.uint8([[3, 200]])
    expected = serving.function(left=ops.convert_to_tensor(left), right=ops.convert_to_tensor(right))
    np.savez(
        tmp_path / "arrays.npz", left=left, right=right, **{k: ops.convert_to_numpy(v) for k, v in expected.items()}
    )
    code = """
import sys
sys.modules["zoo"] = sys.modules["keras"] = None
import numpy as np
import tensorflow as tf
folder = sys.argv[1]
arrays = np.load(folder + "/arrays.npz")
serve = tf.saved_model.load(folder + "/saved").signatures["serving_default"]
answer = serve(left=tf.constant(arrays["left"]), right=tf.constant(arrays["right"]))
assert set(answer) == {"probabilities", "biggest"}, set(answer)
for name, value in answer.items():
    np.testing.assert_allclose(value.numpy(), arrays[name], rtol=1e-5)
shapes = {k: (v.shape.as_list(), v.dtype.name) for k, v in serve.structured_input_signature[1].items()}
assert shapes == {"left": ([1, 3], "float32"), "right": ([1, 2], "uint8")}, shapes
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_older_one_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "saved"
    write_saved_model(make_serving(), target)
    (target / "old.txt").write_text("old")
    write_saved_model(make_serving(), target)
    assert (target / "saved_model.pb").is_file()
    assert not (target / "old.txt").exists()
    assert [item.name for item in tmp_path.iterdir()] == ["saved"]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(ZooError, match="holds other files"):
        write_saved_model(make_serving(), tmp_path / "notes")
    assert (tmp_path / "notes" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"inputs": {"right": ((1, 2), "int64"), "left": ((1, 3), "float32")}}, "'right' is int64"),
        ({"outputs": ("probabilities", "missing")}, "missing"),
        ({"function": lambda right, left: {"probabilities": right + left}}, "cannot be traced"),
    ],
)
def test_a_bad_serving_function(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    with pytest.raises(ExportError, match=says) as caught:
        write_saved_model(make_serving(**changes), tmp_path / "saved")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
