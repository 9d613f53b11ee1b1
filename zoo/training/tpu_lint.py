"""What in a model or in its train step a TPU cannot run, or runs badly; each finding names the layer.

A TPU runs one program compiled by XLA, so every shape must be known, nothing may be a string, and nothing may wait for
Python on the host. Two passes, because some things are seen in one of them only:

1. `lint_model` reads the Keras model: declared shapes and types, which JAX may change silently (float64 becomes
   float32 unless x64 is on) or cannot hold at all (strings).
2. `lint_trace` traces the train step and reads the program (a jaxpr) equation by equation. Keras opens a
   `jax.named_scope` for every layer it calls, so that each equation knows the layer it comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import jax
import keras

DYNAMIC, STRINGS, BATCH, FLOAT64, CALLBACKS, UNTRACEABLE = RULES = (
    "dynamic shapes",
    "strings",
    "batch",
    "float64",
    "host callbacks",
    "not traceable",
)

_CALLBACKS = frozenset(("pure_callback", "io_callback", "debug_callback", "debug_print", "infeed", "outfeed"))
_ADVICE = {
    DYNAMIC: "give every axis but the first a fixed size; pad, or mask instead of selecting",
    STRINGS: "look tokens up in the input pipeline and feed the model int32",
    FLOAT64: "use float32 or bfloat16, and leave JAX_ENABLE_X64 off; a TPU has no float64 hardware",
    CALLBACKS: "write it with keras.ops, or do it outside the train step; every call would stop the chip",
    UNTRACEABLE: "write the layer with keras.ops on tensors",
}


@dataclass(frozen=True, order=True)
class Finding:
    """Something to mend.

    Attributes:
        rule: One of `RULES`.
        layer: Path of the layer in the model, or the name of an input.
        advice: What was found, and what to do, in one sentence.
    """

    rule: str
    layer: str
    advice: str

    def to_dict(self) -> dict[str, str]:
        """Return the fields as JSON values."""
        return asdict(self)


def lint_model(
    model: keras.Model, *, batch_size: int | None, devices: int, micro_batches: int = 1, batch: Any = ()
) -> list[Finding]:
    """Look for what the model's own description tells.

    Args:
        model: Built.
        batch_size: Examples of a global batch; None if the last batch of an epoch may be smaller.
        devices: Chips the batch is split over.
        micro_batches: Parts of a batch whose gradients are computed one after the other.
        batch: A training batch, (inputs by name, targets, weights), whose types to look at.

    Returns:
        Findings, each layer once a rule, sorted.
    """
    found = set(_batch_size(model, batch_size, devices, micro_batches))
    opened: dict[str, Any] = {}
    for name, inputs, outputs in _operations(model):
        # A shape that is open from the start is open in all that follows: only where it begins is reported.
        for tensor in () if any(map(_is_open, inputs)) else filter(_is_open, outputs):
            opened[name] = tensor.shape
        found |= {_finding(STRINGS, name, "it holds strings") for tensor in outputs if tensor.dtype == "string"}
        found |= {_finding(FLOAT64, name, "its output is float64") for tensor in outputs if tensor.dtype == "float64"}
    for name, shape in opened.items():
        if not any(other.startswith(f"{name}/") for other in opened):
            found.add(_finding(DYNAMIC, name, f"its output has the shape {shape}"))
    for layer in model._flatten_layers(include_self=False):
        name = layer.path or layer.name
        if isinstance(layer, (keras.layers.StringLookup, keras.layers.TextVectorization)):
            found.add(_finding(STRINGS, name, f"{type(layer).__name__} works on strings"))
        if "float64" in (layer.compute_dtype, layer.variable_dtype):
            found.add(_finding(FLOAT64, name, "its dtype is float64"))
    for variable in model.variables:
        if variable.dtype == "float64":
            layer_path, _, own = variable.path.rpartition("/")
            found.add(_finding(FLOAT64, layer_path, f"its variable {own} is float64"))
    for path, array in keras.tree.flatten_with_path(batch):
        where = "/".join(("inputs", "targets", "weights")[key] if not i else str(key) for i, key in enumerate(path))
        kind = str(array.dtype)
        if kind == "float64":
            found.add(_finding(FLOAT64, where, "the batch holds float64"))
        elif kind.startswith(("<U", "|S", "object", "StringDType")):
            found.add(_finding(STRINGS, where, "the batch holds strings"))
    return _once(found)


def lint_trace(model: keras.Model, trace: Callable[[], jax.stages.Traced]) -> tuple[Any, list[Finding]]:
    """Trace a step and look for what only its program shows.

    float64 appears here if JAX runs with x64 (`JAX_ENABLE_X64`) and a layer uses a numpy constant of that type.

    Args:
        model: The model the step trains.
        trace: Makes and traces the step, as `jax.jit(step).trace(...)` does.

    Returns:
        What `trace` returned, or None if it failed; and the findings, each layer once a rule, sorted.
    """
    filtering = keras.config.is_traceback_filtering_enabled()
    keras.config.disable_traceback_filtering()  # it drops the frames that tell the layer, and rewords JAX's errors
    try:
        traced = trace()
    except Exception as error:  # the user's own layers may raise anything
        within = error.__context__ if isinstance(error, RuntimeError) else None  # Keras wraps what a layer raises
        return None, [_why_not_traced(within or error, model)]
    finally:
        if filtering:
            keras.config.enable_traceback_filtering()
    names = {layer.name for layer in model._flatten_layers(include_self=False)}
    found: set[Finding] = set()
    elsewhere: set[Finding] = set()
    for equation, scopes in _equations(traced.jaxpr.jaxpr, ()):
        path = "/".join(scope for scope in scopes if scope in names)
        where, target = (path, found) if path else (f"{model.name}, in no layer", elsewhere)
        primitive = equation.primitive.name
        if primitive in _CALLBACKS:
            target.add(_finding(CALLBACKS, where, f"it calls Python on the host ({primitive})"))
        if any(str(getattr(value.aval, "dtype", "")) == "float64" for value in (*equation.invars, *equation.outvars)):
            target.add(_finding(FLOAT64, where, "its calculation has float64 values"))
    # What a layer makes goes on into the loss, the gradients and the optimizer: those are named if no layer is.
    rules = {finding.rule for finding in found}
    return traced, _once(found | {finding for finding in elsewhere if finding.rule not in rules})


def _batch_size(model: keras.Model, size: int | None, devices: int, micro_batches: int) -> Iterator[Finding]:
    inputs = ", ".join(tensor.name for tensor in model.inputs)
    parts = devices * micro_batches
    if size is None:
        yield Finding(BATCH, inputs, "The size of a batch is not known: drop the last, smaller one, or fill it up.")
    elif size % parts:
        chips = "1 chip" if devices == 1 else f"{devices} chips"
        split = chips + (f" in {micro_batches} micro-batches" if micro_batches > 1 else "")
        below, above = size // parts * parts, -(-size // parts) * parts
        choice = f"{below} or {above}" if below else str(above)
        yield Finding(BATCH, inputs, f"A batch of {size} cannot be split evenly over {split}: use {choice}.")


def _operations(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Yield (path, symbolic inputs, symbolic outputs) of every call in a functional model and in those inside it.

    Of the models inside, the inputs are left out: what they get is an output of another call.
    """
    graph = getattr(model, "_functional", None) or model
    for operation in getattr(graph, "operations", ()):
        name = prefix + operation.name
        if prefix and isinstance(operation, keras.layers.InputLayer):
            continue
        for node in operation._inbound_nodes:
            yield name, list(node.input_tensors), list(node.output_tensors)
        if isinstance(operation, keras.Model):
            yield from _operations(operation, f"{name}/")


def _is_open(tensor: Any) -> bool:
    return None in tensor.shape[1:]


def _equations(jaxpr: Any, outer: tuple[str, ...]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Yield every equation, those of loops and inner functions too, with the named scopes around it."""
    for equation in jaxpr.eqns:
        # An inner function is traced by itself and begins with an empty stack.
        scopes = (*outer, *(entry.name for entry in equation.source_info.name_stack.stack))
        yield equation, scopes
        for parameter in equation.params.values():
            for inner in parameter if isinstance(parameter, (tuple, list)) else (parameter,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner, scopes)


def _why_not_traced(error: BaseException, model: keras.Model) -> Finding:
    """Name the rule and the innermost layer of an error."""
    layer, trace = model.name, error.__traceback__
    while trace is not None:
        caller = trace.tb_frame.f_locals.get("self")
        if isinstance(caller, keras.layers.Layer) and caller is not model:
            layer = caller.path or caller.name
        trace = trace.tb_next
    values = (
        jax.errors.ConcretizationTypeError,
        jax.errors.NonConcreteBooleanIndexError,
        jax.errors.TracerIntegerConversionError,
    )
    said = str(error).strip().split("\n")[0].strip()[:200].rstrip(".:") or type(error).__name__
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return _finding(CALLBACKS, layer, "it takes values out of the program, to numpy")
    if isinstance(error, values):
        return _finding(DYNAMIC, layer, "a shape or a branch in it depends on the values of a tensor")
    return _finding(UNTRACEABLE, layer, f"tracing stopped ({said})")


def _finding(rule: str, layer: str, found: str) -> Finding:
    return Finding(rule, layer, f"{found[0].upper()}{found[1:]}: {_ADVICE[rule]}.")


def _once(findings: Iterable[Finding]) -> list[Finding]:
    """Keep one finding a rule and layer, sorted."""
    return sorted({(found.rule, found.layer): found for found in sorted(findings, reverse=True)}.values())
