"""Frozen, validated configuration dataclasses.

A field declares its allowed range beside its default:

    @dataclass(frozen=True)
    class Config(BaseConfig):
        d_model: int = setting(128, low=8, high=4096)
        \"\"\"Width of the model.\"\"\"

The string under a field is its help text on the command line. Values are checked when an instance is made.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from dataclasses import dataclass
from typing import Any, TypeVar

from zoo.errors import ConfigError

C = TypeVar("C", bound="BaseConfig")


def setting(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] | None = None,
) -> Any:
    """Declare a field with its default and its allowed values (bounds inclusive; element-wise for tuples)."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high, "choices": choices})


@dataclass(frozen=True)
class BaseConfig:
    """Base of all configurations: checks types and ranges, converts from and to JSON."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: If a value has the wrong type or lies outside its range.
        """
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = _coerce(getattr(self, field.name), hints[field.name])
            if value is _BAD:
                raise self.fail(field.name, _show(hints[field.name]))
            object.__setattr__(self, field.name, value)
            self._check_range(field)
        self.check()

    def check(self) -> None:
        """Check relations between fields; sub-classes override it and raise with `self.fail`."""

    def fail(self, name: str, wanted: str) -> ConfigError:
        """Build the error that says field `name` has a value it must not have."""
        return ConfigError(f"{self._where(name)} is {getattr(self, name)!r}; it must be {wanted}.")

    def replace(self: C, **overrides: Any) -> C:
        """Return a copy with some fields changed.

        Raises:
            ConfigError: If a field does not exist (the nearest names are given) or a value is out of range.
        """
        known = [field.name for field in dataclasses.fields(self)]
        for name in overrides:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
                hint = f" Did you mean {' or '.join(near)}?" if near else ""
                raise ConfigError(f"{type(self).__qualname__} has no field '{name}'.{hint} Fields: {', '.join(known)}.")
        return dataclasses.replace(self, **overrides)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            field.name: list(value) if isinstance(value := getattr(self, field.name), tuple) else value
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_dict(cls: type[C], values: dict[str, Any]) -> C:
        """Build from `to_dict`'s output; fields that are absent keep their defaults."""
        return cls().replace(**values)

    def _where(self, name: str) -> str:
        return f"{type(self).__qualname__}.{name}"

    def _check_range(self, field: dataclasses.Field[Any]) -> None:
        value = getattr(self, field.name)
        choices, low, high = (field.metadata.get(key) for key in ("choices", "low", "high"))
        for item in value if isinstance(value, tuple) else (value,):
            if item is None:
                continue
            if choices is not None and item not in choices:
                raise self.fail(field.name, "one of " + ", ".join(map(repr, choices)))
            if isinstance(item, float) and not math.isfinite(item):
                raise self.fail(field.name, "a finite number")
            if (low is not None and item < low) or (high is not None and item > high):
                wanted = f"at least {low}" if high is None else f"at most {high}" if low is None else f"{low} to {high}"
                raise self.fail(field.name, wanted)


_BAD = object()


def _coerce(value: Any, hint: Any) -> Any:
    """Return `value` as `hint` (lists become tuples, ints become floats), or `_BAD`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union or type(hint).__name__ == "UnionType":
        if value is None:
            return None if type(None) in args else _BAD
        for option in args:
            if option is not type(None) and (result := _coerce(value, option)) is not _BAD:
                return result
        return _BAD
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return _BAD
        kinds = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else list(args)
        items = [_coerce(item, kind) for item, kind in zip(value, kinds, strict=False)]
        return _BAD if len(kinds) != len(value) or _BAD in items else tuple(items)
    if origin is typing.Literal:
        return value if value in args else _BAD
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, bool):
        return _BAD
    return value if not isinstance(hint, type) or isinstance(value, hint) else _BAD


def _show(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
    return names.get(hint) or str(hint).replace("typing.", "")
