"""TensorBoard logs without TensorFlow, through tensorboard's own event writer."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from zoo.errors import require


class EventWriter:
    """Write scalars, text and pictures as a TensorBoard event file.

    Args:
        folder: Log folder; one event file is made in it.
    """

    def __init__(self, folder: Path) -> None:
        module = require("tensorboard.summary.writer.event_file_writer", extra="tf", purpose="Writing TensorBoard logs")
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = module.EventFileWriter(str(folder))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Write one number."""
        from tensorboard.compat.proto import summary_pb2

        self._add(summary_pb2.Summary.Value(tag=tag, simple_value=value), step)

    def text(self, tag: str, markdown: str, step: int) -> None:
        """Write Markdown text."""
        from tensorboard.compat.proto import summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2

        data = summary_pb2.SummaryMetadata.PluginData(plugin_name="text")
        shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=1)])
        tensor = tensor_pb2.TensorProto(
            dtype=types_pb2.DT_STRING, tensor_shape=shape, string_val=[markdown.encode("utf-8")]
        )
        metadata = summary_pb2.SummaryMetadata(plugin_data=data)
        self._add(summary_pb2.Summary.Value(tag=tag, metadata=metadata, tensor=tensor), step)

    def picture(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Write one uint8 picture (H, W, 3)."""
        from tensorboard.compat.proto import summary_pb2

        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG")
        image = summary_pb2.Summary.Image(
            height=pixels.shape[0], width=pixels.shape[1], colorspace=3, encoded_image_string=buffer.getvalue()
        )
        self._add(summary_pb2.Summary.Value(tag=tag, image=image), step)

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()

    def _add(self, value: Any, step: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2

        summary = summary_pb2.Summary(value=[value])
        self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=step, summary=summary))


class TensorBoardLogs(keras.callbacks.Callback):
    """Log losses, metrics and the learning rate every epoch, and example answers now and then.

    Args:
        folder: Log folder; `train` and `validation` below it get an event file each.
        sample: Returns (Markdown text, pictures) that show some answers of the model as it is now.
        sample_epochs: The epochs (from 0) after which `sample` is called.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sample: Callable[[], tuple[str, Sequence[np.ndarray]]] | None = None,
        sample_epochs: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.folder, self.sample, self.sample_epochs = folder, sample, frozenset(sample_epochs)
        self.train: EventWriter | None = None
        self.validation: EventWriter | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the event files."""
        self.train = EventWriter(self.folder / "train")
        self.validation = EventWriter(self.folder / "validation")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the epoch's values."""
        assert self.train is not None and self.validation is not None
        step = epoch + 1
        for key, value in (logs or {}).items():
            name = key.removeprefix("val_")
            writer = self.validation if key.startswith("val_") else self.train
            writer.scalar(f"epoch/{name}", float(value), step)
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        self.train.scalar("epoch/learning_rate", rate, step)
        if self.sample is not None and epoch in self.sample_epochs:
            text, pictures = self.sample()
            self.validation.text("samples/text", text, step)
            for index, picture in enumerate(pictures):
                self.validation.picture(f"samples/{index}", picture, step)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the event files."""
        self.close()

    def close(self) -> None:
        """Close the event files; also called when training fails."""
        for writer in (self.train, self.validation):
            if writer is not None:
                writer.close()
        self.train = self.validation = None
