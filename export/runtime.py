"""Answers from a `.tflite` file, without TensorFlow.

    from zoo.export.runtime import Edge

    edge = Edge("caption.tflite")
    print(edge.predict("photo.jpg").text)
    for word in edge.stream("photo.jpg"):
        print(word, end="", flush=True)

This module needs numpy, `ai_edge_litert` and the preprocessing code that training used, nothing more.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from zoo import preprocess
from zoo.errors import ConfigError, DataError, ModelFileError, require, unknown_name
from zoo.export.bundle import SIGNATURE, read_bundle
from zoo.export.structure import check_bundle
from zoo.results import Result, StreamedWord

Tensors = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]


class Interface(NamedTuple):
    """What a signature takes and gives: name -> (shape, dtype)."""

    inputs: Tensors
    outputs: Tensors


class Graph:
    """The signatures of a flatbuffer; safe to call from several threads, which take turns.

    Nothing is kept in it between calls. All signatures share one interpreter and therefore one lock.

    Attributes:
        signatures: Name -> interface of every signature; there is always a `serving_default`.
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
            found = self._interpreter.get_signature_list()
            if SIGNATURE not in found:
                raise ModelFileError(f"'{where}' has no signature '{SIGNATURE}'; export the model again.")
            self._interpreter.allocate_tensors()
            self._runners = {key: self._interpreter.get_signature_runner(key) for key in found}
            self.signatures = {
                key: Interface(_tensors(runner.get_input_details()), _tensors(runner.get_output_details()))
                for key, runner in self._runners.items()
            }
        except (ValueError, RuntimeError, TypeError) as error:
            raise ModelFileError(f"LiteRT cannot load '{where}': {_one_line(error)}; export it again.") from error

    @property
    def inputs(self) -> Tensors:
        """Inputs of `serving_default`."""
        return self.signatures[SIGNATURE].inputs

    @property
    def outputs(self) -> Tensors:
        """Outputs of `serving_default`."""
        return self.signatures[SIGNATURE].outputs

    def run(self, inputs: Mapping[str, np.ndarray], signature: str = SIGNATURE) -> dict[str, np.ndarray]:
        """Run a signature once.

        Args:
            inputs: Every input by name, of exactly the model's shapes and dtypes.
            signature: Name of the signature.

        Returns:
            Every output by name; the arrays are the caller's own.

        Raises:
            UnknownNameError: If there is no such signature.
            DataError: If a name, shape or dtype is wrong.
            ModelFileError: If the interpreter fails.
        """
        if signature not in self.signatures:
            raise unknown_name(f"signature of '{self._where}'", signature, self.signatures)
        wanted = self.signatures[signature].inputs
        if set(inputs) != set(wanted):
            raise DataError(
                f"'{self._where}' takes the inputs {', '.join(sorted(wanted))}, not {', '.join(sorted(inputs))}."
            )
        for name, (shape, dtype) in wanted.items():
            value = inputs[name]
            if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype != dtype:
                given = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
                raise DataError(f"Input '{name}' is {given}; '{self._where}' takes {dtype} {shape}.")
        with self._lock:
            try:
                outputs = self._runners[signature](
                    **{name: np.asarray(value, order="C") for name, value in inputs.items()}
                )
            except (ValueError, RuntimeError) as error:
                raise ModelFileError(f"LiteRT failed while running '{self._where}': {_one_line(error)}.") from error
            return {name: np.array(value) for name, value in outputs.items()}


class Edge:
    """A bundle ready to answer: `predict` takes what a person has and returns a typed result.

    One `Edge` may serve any number of threads: they take turns at the interpreter, and preprocessing runs beside it.
    What a stream has said so far is held by the stream, so that several may be read in turns or from several threads
    (each stream by one thread at a time). For answers side by side make one `Edge` a thread, or give `num_threads`.

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
        # LiteRT follows the indices it finds: damaged tables are found here, not by a crash there.
        check_bundle(self.bundle, self.preprocessor, os.fspath(path))
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
    def inputs(self) -> Tensors:
        """Name -> (shape, dtype) of every input of `serving_default`."""
        return self._graph.inputs

    @property
    def outputs(self) -> Tensors:
        """Name -> (shape, dtype) of every output of `serving_default`."""
        return self._graph.outputs

    @property
    def signatures(self) -> dict[str, Interface]:
        """Name -> inputs and outputs of every signature of the model."""
        return dict(self._graph.signatures)

    @property
    def batch_size(self) -> int:
        """How many inputs the model answers in one run; fixed when the file was exported."""
        return next(iter(self.inputs.values()))[0][0]

    @property
    def report(self) -> dict[str, Any]:
        """What the export gate measured."""
        return dict(self.bundle.json("report.json"))

    def predict(self, value: Any, *, seed: int | None = None) -> Result:
        """Answer for one input.

        Args:
            value: What the task takes: a picture (path, PIL image, array), a text, or a price table (CSV path, array).
            seed: What is drawn at random follows from it; the seed of the export when not given.

        Returns:
            A `zoo.results.Caption`, `Classification` or `Forecast`.

        Raises:
            ConfigError: If a seed is given and the file draws nothing, or it is not a 32-bit integer.
            DataError: If the input cannot be used; the message says why.
            ModelFileError: If the interpreter fails.
        """
        return self.predict_batch([value], seed=seed)[0]

    def predict_batch(self, values: Iterable[Any], *, seed: int | None = None) -> list[Result]:
        """Answer for several inputs, `batch_size` of them in one run; the last run is filled up with copies.

        Args:
            values: What `predict` takes, any number.
            seed: See `predict`; the same for all.

        Returns:
            One result an input.

        Raises:
            ConfigError: See `predict`.
            DataError: If an input cannot be used.
            ModelFileError: If the interpreter fails.
        """
        results: list[Result] = []
        signature, extra = (SIGNATURE, {}) if seed is None else ("sample", {"seed": self._seed(seed)})
        requests = map(self.preprocessor.request, values)
        while batch := list(islice(requests, self.batch_size)):
            rows = {name: np.concatenate([request[name] for request in batch]) for name in batch[0]}
            outputs = self.run({**self.fill(rows), **extra}, signature)
            for row, request in enumerate(batch):
                own = outputs if self.batch_size == 1 else {name: array[[row]] for name, array in outputs.items()}
                results.append(self.preprocessor.result(request, own))
        return results

    def stream(self, value: Any) -> Iterator[StreamedWord]:
        """Caption a picture word by word, by greedy search whatever the search in the file is.

        With a file of greedy search without further rules the words are those of `predict`.

        Args:
            value: A picture.

        Returns:
            Words, each as soon as it is whole: when the next begins, the last when the caption ends.

        Raises:
            ConfigError: If the task is not captioning, the file is older than this, or it keeps words out (`never`).
            DataError: If the picture cannot be used.
            ModelFileError: If the interpreter fails.
        """
        from zoo.preprocess._stream import join_words, stream_tokens
        from zoo.preprocess.captioning import CaptionPreprocessor

        preprocessor, problem = self.preprocessor, f"This model of the task {self.task} cannot stream words"
        if not isinstance(preprocessor, CaptionPreprocessor):
            raise ConfigError(f"{problem}: use predict.")
        if not {"encode", "step"} <= set(self.signatures):
            raise ConfigError(f"{problem}: it was exported before that; export it again.")
        if self._keeps_words_out():
            raise ConfigError(f"{problem}: it was exported to keep some out, which only the whole search does.")
        inputs = self.fill(preprocessor.request(value))
        steps = self.outputs["tokens"][0][1]
        return join_words(stream_tokens(self.run, inputs, self.signatures["step"].inputs, steps), preprocessor)

    def _keeps_words_out(self) -> bool:
        report = self.bundle.json("report.json") if "report.json" in self.bundle.entries else {}
        options = report.get("serving_options") if isinstance(report, dict) else None
        return isinstance(options, dict) and bool(options.get("never"))

    def _seed(self, seed: int) -> np.ndarray:
        """Return the input `seed`."""
        if "sample" not in self.signatures:
            raise ConfigError("This file draws nothing at random, so it takes no seed; export with search='sample'.")
        if type(seed) is not int or not -(2**31) <= seed < 2**31:
            raise ConfigError(f"The seed is {seed!r}; it must be a whole number of 32 bits.")
        return np.array(seed, np.int32)

    def run(self, inputs: Mapping[str, np.ndarray], signature: str = SIGNATURE) -> dict[str, np.ndarray]:
        """Run the bare model: arrays in, arrays out (see `Graph.run`)."""
        return self._graph.run(inputs, signature)

    def fill(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return inputs of 1 to `batch_size` rows with copies of the last row below, so that the batch is full."""
        size = self.batch_size
        return {name: array[np.arange(size).clip(max=len(array) - 1)] for name, array in inputs.items()}


def _tensors(details: Mapping[str, Any]) -> Tensors:
    return {name: (tuple(map(int, item["shape"])), np.dtype(item["dtype"])) for name, item in details.items()}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
