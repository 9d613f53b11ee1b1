"""The part of a model that does not learn, for those that cut one in two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def frozen_copy(layers: list[Any], shape: tuple[int, ...]) -> keras.Model:
    """Return layers one after the other, copied and in float32: what is stored is as exact as in a file.

    Args:
        layers: Built, each with one input and one output.
        shape: (H, W, 3) of the pictures.
    """
    import keras

    picture = keras.Input(shape, dtype="float32", name="image")
    x = picture
    for layer in layers:
        copy = type(layer).from_config({**layer.get_config(), "dtype": "float32"})
        x = copy(x)
        copy.set_weights(layer.get_weights())
    return keras.Model(picture, x, name="extract")
