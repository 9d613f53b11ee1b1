"""Answers from a `.tflite` file, without TensorFlow.

    from zoo.export.runtime import Edge

    edge = Edge("caption.tflite")
    print(edge.predict("photo.jpg").text)

This module needs numpy, `ai_edge_litert` and the preprocessing code that training used, nothing more.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from zoo import preprocess
from zoo.errors import DataError, ModelFileError, require
from zoo.export.bundle import SIGNATURE, read_bundle
from zoo.results import Result


class Graph:
    """The `serving_default` signature of a flatbuffer; safe to call from several threads, which take turns.

    Attributes:
        inputs: Name -> (shape, dtype) of every input.
        outputs: Name -> (shape, dtype) of every output.
    """

    def __init__(self, flatbuffer: bytes, *, num_threads: int = 1, where: str = "the model") -> None:
        """Load the model and reserve its memory.

        Args:
            flatbuffer: A TFLite model; a bundle's whole content works too.
            num_threads: Threads the interpreter may use.
            where: Names the model in messages.

        Raises:
            ModelFileError: If LiteRT cannot load it, or it has no `serving_default` signature.
            MissingExtraError: If `ai-edge-litert` is not installed.
        """
        litert = require("ai_edge_litert.interpreter", extra="edge", purpose="Running a .tflite file")
        self._where = where
        self._lock = threading.Lock()
        try:
            self._interpreter = litert.Interpreter(model_content=flatbuffer, num_threads=num_threads)
            if SIGNATURE not in self._interpreter.get_signature_list():
                raise ModelFileError(f"'{where}' has no signature '{SIGNATURE}'; export the model again.")
            self._interpreter.allocate_tensors()
            self._runner = self._interpreter.get_signature_runner(SIGNATURE)
        except (ValueError, RuntimeError, TypeError) as error:
            raise ModelFileError(f"LiteRT cannot load '{where}': {_one_line(error)}; export it again.") from error
        self.inputs = _signature(self._runner.get_input_details())
        self.outputs = _signature(self._runner.get_output_details())

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the model once.

        Args:
            inputs: Every input by name, of exactly the model's shapes and dtypes.

        Returns:
            Every output by name; the arrays are the caller's own.

        Raises:
            DataError: If a name, shape or dtype is wrong.
            ModelFileError: If the interpreter fails.
        """
        if set(inputs) != set(self.inputs):
            raise DataError(
                f"'{self._where}' takes the inputs {', '.join(sorted(self.inputs))}, not {', '.join(sorted(inputs))}."
            )
        for name, (shape, dtype) in self.inputs.items():
            value = inputs[name]
            if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype != dtype:
                given = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
                raise DataError(f"Input '{name}' is {given}; '{self._where}' takes {dtype} {shape}.")
        with self._lock:
            try:
                outputs = self._runner(**{name: np.ascontiguousarray(value) for name, value in inputs.items()})
            except (ValueError, RuntimeError) as error:
                raise ModelFileError(f"LiteRT failed while running '{self._where}': {_one_line(error)}.") from error
            return {name: np.array(value) for name, value in outputs.items()}


class Edge:
    """A bundle ready to answer: `predict` takes what a person has and returns a typed result.

    Attributes:
        bundle: The checked bundle.
        preprocessor: The preprocessing code with the bundle's vocabulary, labels and sizes.
    """

    def __init__(self, path: str | os.PathLike[str], num_threads: int = 1) -> None:
        """Read and check the file, load the model.

        Args:
            path: A `.tflite` file made by `zoo export`.
            num_threads: Threads the interpreter may use.

        Raises:
            ModelFileError: If the file cannot be read or trusted, or LiteRT cannot load it.
            MissingExtraError: If a package it needs is not installed.
        """
        self.bundle = read_bundle(path)
        self.preprocessor = preprocess.load(self.bundle.folder("preprocessor"))
        self._graph = Graph(self.bundle.flatbuffer, num_threads=num_threads, where=os.fspath(path))

    @property
    def name(self) -> str:
        """Name of the architecture."""
        return self.bundle.name

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.bundle.task

    @property
    def inputs(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Name -> (shape, dtype) of every input of the model."""
        return self._graph.inputs

    @property
    def outputs(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Name -> (shape, dtype) of every output of the model."""
        return self._graph.outputs

    @property
    def report(self) -> dict[str, Any]:
        """What the export gate measured."""
        return dict(self.bundle.json("report.json"))

    def predict(self, value: Any) -> Result:
        """Answer for one input.

        Args:
            value: What the task takes: a picture (path, PIL image, array), a text, or a price table (CSV path, array).

        Returns:
            A `zoo.results.Caption`, `Classification` or `Forecast`.

        Raises:
            DataError: If the input cannot be used; the message says why.
            ModelFileError: If the interpreter fails.
        """
        request = self.preprocessor.request(value)
        return self.preprocessor.result(request, self.run(request))

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the bare model: arrays in, arrays out (see `Graph.run`)."""
        return self._graph.run(inputs)


def _signature(details: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    return {name: (tuple(map(int, item["shape"])), np.dtype(item["dtype"])) for name, item in details.items()}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
