"""What Keras gets wrong under `tf.distribute`, seen in stock Keras. A failure here is good news: a detour can go.

Each case runs in a process of its own with two logical CPUs and prints what it saw; see `zoo.training.workarounds`.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from zoo.training.workarounds import WORKAROUNDS

SETUP = """
import json, os, sys
import numpy as np
import tensorflow as tf, keras
kind = sys.argv[1]
if kind != "multiworker_fit":
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)

def mirrored():
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())

def fit(strategy, optimizer=None, weights=False, clip=None, **arguments):
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    x[:32] *= 3
    y = x.sum(axis=1, keepdims=True)
    w = np.repeat([1.0, 0.1], 32).astype("float32")
    # Every batch is half of heavy and half of light rows, in order, so that the replicas' shares differ.
    order = np.arange(64).reshape(2, 4, 8).transpose(1, 0, 2).reshape(-1)
    arrays = (x[order], y[order], w[order]) if weights else (x[order], y[order])
    data = tf.data.Dataset.from_tensor_slices(arrays).batch(16, drop_remainder=True).repeat()
    with strategy.scope():
        inputs = keras.Input((8,))
        model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="zeros")(inputs))
        loss = keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")
        rule = optimizer() if optimizer else keras.optimizers.SGD(0.01, global_clipnorm=clip)
        model.compile(rule, loss, metrics=["mae"], jit_compile=False, **arguments)
    model.fit(data, epochs=2, steps_per_epoch=4, verbose=0)
    return [np.asarray(weight).tolist() for weight in model.get_weights()]
"""
CASES = {
    "steps_per_execution": """
print(json.dumps(fit(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), keras.optimizers.Adam, steps_per_execution=4)))
""",
    "gradient_accumulation": """
def adam():
    return keras.optimizers.Adam(1e-2, gradient_accumulation_steps=2)
print(json.dumps(fit(mirrored(), adam)))
""",
    "multiworker_fit": """
import subprocess
cluster = {"worker": ["127.0.0.1:" + port for port in sys.argv[2:4]]}
index = int(os.environ.get("WORKER", "0"))
if index == 0:
    command = [sys.executable, "-P", "-c", sys.orig_argv[3], *sys.argv[1:]]
    other = subprocess.Popen(command, env={**os.environ, "WORKER": "1"})
os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
print(json.dumps(fit(tf.distribute.MultiWorkerMirroredStrategy())))
""",
    "clipping": """
one, two = fit(tf.distribute.get_strategy(), clip=0.5), fit(mirrored(), clip=0.5)
assert np.allclose(fit(tf.distribute.get_strategy())[0], fit(mirrored())[0], rtol=1e-4), "not comparable"
assert np.allclose(one[0], two[0], rtol=1e-3), "clipped otherwise than on one device"
print("equal")
""",
    "weighted_mean": """
one, two = fit(tf.distribute.get_strategy(), weights=True), fit(mirrored(), weights=True)
assert np.allclose(one[0], two[0], rtol=1e-3), "another mean than on one device"
print("equal")
""",
}
SEEN = {
    "steps_per_execution": "placeholder",
    "gradient_accumulation": "merge_call",
    "multiworker_fit": "values.PerReplica'>) to a Tensor",
    "clipping": "clipped otherwise than on one device",
    "weighted_mean": "another mean than on one device",
}


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(WORKAROUNDS))
def test_keras_still_needs_the_detour(name: str, free_ports: list[int]) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", SETUP + CASES[name], name, *map(str, free_ports)],
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    mended = f"Keras does this right now: '{name}' of zoo/training/workarounds.py can go. {WORKAROUNDS[name]}"
    assert done.returncode != 0, mended
    assert SEEN[name] in done.stderr, done.stderr[-2000:]
