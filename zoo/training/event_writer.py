"""TensorBoard event files without TensorFlow: tensorboard's own messages and records, in a file of our own.

Its `EventFileWriter` imports TensorFlow where it finds it, which beside JAX may take a whole GPU, and on a full disk it
shows a traceback from a thread.
"""

from __future__ import annotations

import io
import itertools
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zoo.errors import ZooError, require

_NUMBERS = itertools.count()


class EventWriter:
    """Write scalars, text, pictures and hyper-parameters as a TensorBoard event file.

    Every file begins with a mark of a start. TensorBoard takes the second mark in a folder for a restart, and forgets
    what earlier files of the folder say of its step and those after it.

    Args:
        folder: Log folder; one event file is made in it.
        first_step: The step this process begins at: 0, or where it resumes.

    Raises:
        ZooError: If the file cannot be written; so do all methods.
    """

    def __init__(self, folder: Path, *, first_step: int = 0) -> None:
        records = require("tensorboard.summary.writer.record_writer", extra="tf", purpose="Writing TensorBoard logs")
        from tensorboard.compat.proto import event_pb2

        # TensorBoard reads the files of a folder in the order of their names.
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_NUMBERS):06d}"
        self._path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
        except OSError as error:
            raise self._failure(error) from error
        self._records = records.RecordWriter(self._file)
        self._write(event_pb2.Event(file_version="brain.Event:2"))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(event_pb2.Event(step=first_step, session_log=start))

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

    def start_session(self, hparams: Mapping[str, bool | float | str]) -> None:
        """Say with which hyper-parameters a training session starts: a row of the HPARAMS tab."""
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2

        info = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
        for name, value in hparams.items():
            if isinstance(value, bool):
                info.hparams[name].bool_value = value
            elif isinstance(value, str):
                info.hparams[name].string_value = value
            else:
                info.hparams[name].number_value = value
        self._session(metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=info))

    def end_session(self) -> None:
        """Say that the session has come to its end.

        Of a failure nothing is said: TensorBoard keeps the first word on it, and the run may be resumed.
        """
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        info = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
        self._session(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=info))

    def close(self) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError as error:
            raise self._failure(error) from error

    def _session(self, tag: str, data: Any) -> None:
        """Write a message of the HPARAMS plugin. Its own helpers for this import TensorFlow, its messages do not."""
        from tensorboard.compat.proto import summary_pb2
        from tensorboard.plugins.hparams import metadata

        message = metadata.create_summary_metadata(data)
        self._add(summary_pb2.Summary.Value(tag=tag, metadata=message, tensor=metadata.NULL_TENSOR), 0)

    def _add(self, value: Any, step: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2

        self._write(event_pb2.Event(step=step, summary=summary_pb2.Summary(value=[value])))

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        try:
            self._records.write(event.SerializeToString())
            self._file.flush()  # for those who watch; a few small writes every so many steps
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> ZooError:
        return ZooError(f"Cannot write the logs '{self._path}': {error.strerror or error}.")
