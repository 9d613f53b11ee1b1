"""The layers where the other tests do not look: on JAX in a second process, and as a graph in LiteRT."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LITERT = """
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import ops
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from zoo.layers import AttentionPooling, CNNFeatureExtractor, PositionalEncoding, TransformerDecoder
from zoo.layers import TransformerEncoderBlock

STEPS = 6
cnn = CNNFeatureExtractor((8, 16), (1, 1), d_model=16)
grid = PositionalEncoding("2d")
encoder = TransformerEncoderBlock(16, 2, 32, window=5, rotary=True)
pooling = AttentionPooling()
decoder = TransformerDecoder(11, 16, 2, 32, num_layers=2, max_length=STEPS)
decoder.build((None, STEPS), (None, 9, 16))

@tf.function(input_signature=[tf.TensorSpec([1, 24, 24, 3], tf.float32)])
def caption(image):
    memory = encoder(ops.reshape(grid(cnn(image)), (1, 9, 16)), mask=tf.ones((1, 9), tf.bool))
    def body(position, token, tokens, attention, cache):
        logits, cache, seen = decoder.step(token, position, cache)
        token = tf.argmax(logits[:, 1:], axis=-1, output_type=tf.int32) + 1
        here = ops.cast(ops.equal(ops.arange(STEPS), position), "int32")
        attention = attention + ops.cast(here, "float32")[None, :, None] * seen[:, None]
        return position + 1, token, tokens + token[:, None] * here, attention, cache
    start = (tf.constant(0), tf.ones((1,), tf.int32), tf.zeros((1, STEPS), tf.int32), tf.zeros((1, STEPS, 9)))
    _, _, tokens, attention, _ = ops.while_loop(
        lambda position, *_: position < STEPS, body, (*start, decoder.start(memory))
    )
    return {"tokens": tokens, "attention": attention, "weights": pooling(memory)[1]}

image = np.random.default_rng(0).uniform(size=(1, 24, 24, 3)).astype("float32")
wanted = {name: value.numpy() for name, value in caption(image).items()}
frozen = convert_variables_to_constants_v2(caption.get_concrete_function(), lower_control_flow=False)
converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
interpreter = Interpreter(model_content=converter.convert(), num_threads=1)
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
interpreter.invoke()
by_shape = {tuple(d["shape"]): interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}
np.testing.assert_array_equal(by_shape[1, STEPS], wanted["tokens"])
np.testing.assert_allclose(by_shape[1, STEPS, 9], wanted["attention"], atol=1e-5)
np.testing.assert_allclose(by_shape[1, 9], wanted["weights"], atol=1e-5)
assert not any("Flex" in op["op_name"] for op in interpreter._get_ops_details())
assert wanted["tokens"].all()
print("agreed")
"""


def child(arguments: list[str], backend: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, "-P", *arguments], env=environment, capture_output=True, text=True, timeout=1200, check=False
    )


@pytest.mark.full
def test_decoding_loop_in_litert() -> None:
    done = child(["-c", LITERT], "tensorflow")
    assert done.returncode == 0 and "agreed" in done.stdout, done.stderr[-3000:]


@pytest.mark.full
@pytest.mark.parametrize(
    "tests", ["test_every_layer.py", "test_layer_norm.py", "test_transformer_layers.py", "test_self_attention.py"]
)
def test_on_jax(tests: str, repository: Path) -> None:
    done = child(["-m", "pytest", "-q", "-n0", str(repository / "tests" / "layers" / tests)], "jax")
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-3000:]
