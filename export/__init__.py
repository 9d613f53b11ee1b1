"""From a Keras model to one `.tflite` file that does the whole task, and from that file to an answer.

`zoo.export.exporter` runs the pipeline (serving function, SavedModel, conversion, bundle, gate), `zoo.export.runtime`
answers from the file without TensorFlow. Importing this package imports neither Keras nor TensorFlow nor JAX.
"""

from __future__ import annotations

if __name__ != "zoo.export":
    raise ImportError("This folder is the package 'zoo.export' of attention-zoo; import it by that name.")
