"""From a run to the bundles of its variants, before any of them is judged."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.export._process import run_worker
from zoo.export.bundle import SIGNATURE, pack_bundle, unpack_bundle, write_bundle
from zoo.export.golden import GoldenCase, golden_cases, golden_entries
from zoo.export.quantize import operators_by_type, quantize_int8
from zoo.export.samples import calibration_samples
from zoo.export.saved_model import write_saved_model
from zoo.export.tflite import TENSORFLOW_ON_CPU, WORKER, convert
from zoo.export.verify import by_example, check_interface, check_operators, judge, run_without_tensorflow
from zoo.files import to_json, write_json
from zoo.tasks import Requests
from zoo.weights import save_weights

if TYPE_CHECKING:
    from zoo.run import Run


@dataclass
class Draft:
    """A bundle without golden examples and report, in a scratch folder.

    Attributes:
        quantize: Name of the variant.
        path: The bundle.
        flatbuffer: The model.
        entries: Content of the bundle.
        about: Arguments of `pack_bundle`.
        facts: What the report says of the file itself.
    """

    quantize: str
    path: Path
    flatbuffer: bytes
    entries: dict[str, bytes]
    about: dict[str, Any]
    facts: dict[str, Any]

    def answer(self, inputs: Mapping[str, np.ndarray], *, timeout: float) -> dict[str, np.ndarray]:
        """Return serving outputs, first axis = example, from a process without TensorFlow."""
        count = len(next(iter(inputs.values())))
        return by_example(run_without_tensorflow(self.path, inputs, timeout=timeout), count)

    def finish(self, report: Mapping[str, Any], cases: list[GoldenCase], where: str) -> bytes:
        """Return the finished bundle, read back once; `where` names it in messages."""
        entries = {**self.entries, "report.json": to_json(report).encode(), **golden_entries(cases)}
        content = pack_bundle(self.flatbuffer, entries, **self.about)
        unpack_bundle(content, where)
        return content


class Drafts:
    """Makes the variants of one run's file. The graph is written, and converted to float32, once."""

    def __init__(self, run: Run, scratch: Path, serving_options: Mapping[str, Any], timeout: float) -> None:
        """Keep what is needed; nothing is made yet.

        Args:
            run: The run.
            scratch: An empty folder.
            serving_options: The task's own.
            timeout: Seconds that a conversion, and every check, may take.
        """
        self.run, self.scratch, self.timeout = run, scratch, timeout
        self.options = dict(serving_options)
        self.serving = run.serving(**self.options)

    def make(self, quantize: str) -> Draft:
        """Return one variant that has built-in operators and an interface every client can hold.

        Raises:
            ExportError: If it cannot be made.
        """
        flatbuffer = self._flatbuffer(quantize)
        signatures = check_interface(flatbuffer)
        facts = {
            "name": self.run.name,
            "task": self.run.task.name,
            "quantize": quantize,
            "trained": self.run.trained,
            "flatbuffer_bytes": len(flatbuffer),
            "operators": check_operators(flatbuffer),
            "operators_by_type": operators_by_type(flatbuffer),
            "interface": signatures[SIGNATURE],
            "serving_options": {"batch_size": self.serving.batch_size, **self.serving.options},
        }
        about: dict[str, Any] = {
            "name": self.run.name,
            "task": self.run.task.name,
            "quantize": quantize,
            "signatures": signatures,
        }
        path = self.path(quantize)
        write_bundle(path, flatbuffer, self._entries, **about)
        return Draft(quantize, path, flatbuffer, self._entries, about, facts)

    def path(self, quantize: str) -> Path:
        """Return where a variant's draft is."""
        return self.scratch / f"{quantize}.tflite"

    def golden(self, draft: Draft, requests: Requests) -> list[GoldenCase]:
        """Return golden examples with the draft's own answers."""
        run: Callable[..., Any] = functools.partial(run_without_tensorflow, draft.path, timeout=self.timeout)
        return golden_cases(requests, self.run.preprocessor, run, self.serving.batch_size)

    def judge(
        self, draft: Draft, requests: Requests, expected: Mapping[str, np.ndarray], *, budget: float
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return a draft's answers, first axis = example, and the verdict on them (see `zoo.export.verify.judge`).

        Args:
            draft: The file.
            requests: The examples.
            expected: The Keras model's outputs, first axis = example.
            budget: Largest relative drop of the task's main metric.
        """
        answers = draft.answer(requests.inputs, timeout=self.timeout)
        verdict = judge(
            task=self.run.task,
            preprocessor=self.run.preprocessor,
            requests=requests,
            expected=expected,
            actual=answers,
            quantize=draft.quantize,
            trained=self.run.trained and requests.truth is not None,
            budget=budget,
        )
        return answers, verdict

    def _flatbuffer(self, quantize: str) -> bytes:
        if quantize == "float32":
            return self._float32
        if quantize == "int8":
            samples = calibration_samples(self.run, self.serving).inputs
            return quantize_int8(self._float32, {SIGNATURE: samples}, timeout=self.timeout)
        return convert(self._graph, quantize, timeout=self.timeout)

    @functools.cached_property
    def _float32(self) -> bytes:
        return convert(self._graph, timeout=self.timeout)

    @functools.cached_property
    def _graph(self) -> Path:
        folder = self.scratch / "saved_model"
        write_graph(self, folder)
        return folder

    @functools.cached_property
    def _entries(self) -> dict[str, bytes]:
        described = self.run.describe()
        kept = ("architecture", "task", "config", "data", "train", "trained", "versions")
        licences = {"code": {"name": "Apache-2.0", "credit": "attention-zoo"}, "data": self.run.licence or None}
        return {
            **{f"preprocessor/{name}": content for name, content in self.run.preprocessor.files().items()},
            "config.json": to_json({key: described[key] for key in kept}).encode(),
            "licences.json": to_json(licences).encode(),
        }


def write_graph(drafts: Drafts, folder: Path) -> None:
    """Write the SavedModel; under another backend than TensorFlow's, in a process that has it."""
    import keras

    if keras.backend.backend() == "tensorflow":
        write_saved_model(drafts.serving, folder)
        return
    run, scratch = drafts.run, drafts.scratch
    description, weights = scratch / "model.json", scratch / "weights.safetensors"
    options = run.task.serving_options(drafts.options, run.preprocessor)
    about = {"name": run.name, "config": run.config.to_dict(), "serving_options": options}
    write_json(description, about)
    save_weights(run.model, weights)
    run_worker(
        WORKER,
        ["saved_model", description, weights, folder.absolute()],
        what="Writing the SavedModel",
        timeout=drafts.timeout,
        environment=TENSORFLOW_ON_CPU,
    )
