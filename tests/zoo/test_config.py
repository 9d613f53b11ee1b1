"""Configuration dataclasses: ranges, coercion, near names, JSON."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.config import BaseConfig, setting
from zoo.errors import ConfigError
from zoo.training.config import TrainConfig


@dataclass(frozen=True)
class Sample(BaseConfig):
    """A configuration with a field of every kind."""

    width: int = setting(8, low=1, high=64)
    rate: float = setting(0.5, low=0.0, high=1.0)
    kind: str = setting("a", choices=("a", "b"))
    sizes: tuple[int, ...] = setting((1, 2), low=1)
    steps: int | None = setting(None, low=1)
    flag: bool = False


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("width", 0, "1 to 64"),
        ("width", 65, "1 to 64"),
        ("width", "8", "a whole number"),
        ("width", True, "a whole number"),
        ("rate", float("nan"), "a finite number"),
        ("rate", 2, "0.0 to 1.0"),
        ("kind", "c", "one of 'a', 'b'"),
        ("sizes", (1, 0), "at least 1"),
        ("sizes", 3, "tuple"),
        ("steps", 0, "at least 1"),
        ("flag", 1, "true or false"),
    ],
)
def test_bad_value_names_field_value_and_range(field: str, value: object, wanted: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Sample().replace(**{field: value})
    message = str(caught.value)
    assert f"Sample.{field}" in message and repr(value) in message and wanted in message and "\n" not in message


def test_unknown_field_names_the_near_one() -> None:
    with pytest.raises(ConfigError, match="no field 'witdh'. Did you mean width"):
        Sample().replace(witdh=3)


@given(
    st.builds(
        dict,
        width=st.integers(1, 64),
        rate=st.floats(0, 1),
        kind=st.sampled_from("ab"),
        sizes=st.lists(st.integers(1, 9)).map(tuple),
        steps=st.none() | st.integers(1, 9),
        flag=st.booleans(),
    )
)
def test_dictionary_round_trip(values: dict[str, object]) -> None:
    config = Sample(**values)  # type: ignore[arg-type]
    assert Sample.from_dict(config.to_dict()) == config


def test_whole_numbers_become_floats() -> None:
    assert isinstance(Sample(rate=1).rate, float)
    assert TrainConfig(learning_rate=0).learning_rate == 0.0
