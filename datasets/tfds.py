"""TensorFlow Datasets by name, as `tfds:imdb_reviews`, read through `tfds.data_source` (array_record; no TensorFlow).

Splits are the published ones, duplicates included. Without a validation split, one is taken from training by seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from zoo.config import BaseConfig, setting
from zoo.datasets._base import Dataset, Licence, Record, Source, register_dataset
from zoo.datasets._split import portions
from zoo.errors import DataError, require

_VALID = ("validation", "valid", "val", "dev")
_CAPTIONS = ("caption", "captions", "captions/text", "captions/raw", "text")
_TEXTS = ("text", "sentence", "review", "content", "title")


@register_dataset("tfds", task="")
class Tfds(Dataset):
    """A dataset of TensorFlow Datasets; its task is an option."""

    @dataclass(frozen=True)
    class Options(BaseConfig):
        """Options of a TFDS dataset."""

        name: str = setting("")
        """Name as in the catalogue, with a configuration after a slash."""
        task: str = setting("captioning", choices=("captioning", "text_classification"))
        """What it is used for."""
        train: str = setting("train")
        """TFDS split (slices such as train[:90%] are allowed) to train on."""
        valid: str = setting("")
        """TFDS split to validate on; empty = find it, or take it from training."""
        test: str = setting("")
        """TFDS split to test on; empty = `test` if there is one."""
        image_key: str = setting("image")
        """Feature of the picture."""
        caption_key: str = setting("")
        """Feature of the caption or captions; parts of a sequence as captions/text; empty = find it."""
        text_key: str = setting("")
        """Feature of the text; empty = find it."""
        label_key: str = setting("label")
        """Feature of the label."""
        language: str = setting("")
        """ISO 639-1 code of the text; zh asks for the Chinese mode."""
        data_dir: str = setting("")
        """Where prepared datasets lie; empty = TFDS's own folder."""
        download: bool = setting(True)
        """Whether to download and prepare what is not there yet."""
        seed: int = setting(0, low=0)
        """Which of the possible validation parts."""
        valid_fraction: float = setting(0.1, low=0.01, high=0.4)
        """Share of the training examples in `valid`, if it is not given."""

        def to_dict(self) -> dict[str, Any]:
            """Return the fields but the task, which `zoo.datasets.load` is always told by itself."""
            return {name: value for name, value in super().to_dict().items() if name != "task"}

    def __init__(self, options: Options | None = None) -> None:
        """Keep the options; TFDS is imported on first use."""
        super().__init__(options)
        name = self.options.name
        self.task = self.options.task  # type: ignore[misc]
        self.language = self.options.language
        self.licence = Licence(
            name="as published",
            credit=f"TensorFlow Datasets: {name}; see its page for licence and citation.",
            url=f"https://www.tensorflow.org/datasets/catalog/{name.split('/')[0].split(':')[0]}",
            weights_may_ship=False,
        )
        self._features: Any = None
        self._splits: dict[str, Source] | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels in the order of the dataset's own numbers, or sorted if it has none."""
        train = self.split("train")
        names = getattr(self._features[self.options.label_key], "names", None)
        return tuple(names or sorted({train[i]["label"] for i in range(len(train))}))

    def splits(self) -> dict[str, Source]:
        """Return `train` and `valid`, and `test` if there is one."""
        if self._splits is None:
            self._splits = self._open(require("tensorflow_datasets", extra="tf", purpose="Reading TFDS datasets"))
        return self._splits

    def _open(self, tfds: ModuleType) -> dict[str, Source]:
        options = self.options
        if not options.name:
            raise DataError("No TFDS dataset is named; write tfds:NAME, for example tfds:imdb_reviews.")
        place = {"data_dir": options.data_dir} if options.data_dir else {}
        try:
            builder = tfds.builder(options.name, file_format="array_record", **place)
            if options.download:
                builder.download_and_prepare(file_format="array_record")
            return self._sources(tfds, builder)
        # TFDS's own errors derive from ValueError
        except (AssertionError, ImportError, LookupError, OSError, RuntimeError, ValueError) as error:
            raise self._failed(error) from error

    def _sources(self, tfds: ModuleType, builder: Any) -> dict[str, Source]:
        options, features, found = self.options, builder.info.features, builder.info.splits
        self._features = features
        if not found:
            raise DataError(f"TFDS dataset '{options.name}' is not prepared; set download=true or another data_dir.")
        convert = self._captioned(tfds) if options.task == "captioning" else self._labelled()
        names = {
            "train": options.train,
            "valid": options.valid or next((name for name in _VALID if name in found), ""),
            "test": options.test or ("test" if "test" in found else ""),
        }
        decoders = {options.image_key: tfds.decode.SkipDecoding()} if options.task == "captioning" else None
        splits: dict[str, Source] = {}
        for split, name in names.items():
            if name:
                if name.split("[")[0] not in found:
                    raise DataError(f"TFDS dataset '{options.name}' has no split '{name}'; it has {', '.join(found)}.")
                data = builder.as_data_source(split=name, decoders=decoders)
                splits[split] = Converted(data, range(len(data)), convert, split)
        if "valid" not in splits:
            train = splits["train"]
            dealt = portions(map(str, range(len(train))), options.seed, {"valid": options.valid_fraction})
            for split, keys in dealt.items():
                splits[split] = Converted(train.data, sorted(map(int, keys)), convert, split)  # type: ignore[attr-defined]
        return splits

    def _captioned(self, tfds: ModuleType) -> Any:
        options = self.options
        image = self._key((options.image_key,), "image_key")
        if not isinstance(self._features[image], tfds.features.Image):
            raise DataError(
                f"Feature '{image}' of TFDS dataset '{options.name}' is no picture; name one with image_key."
            )
        caption = self._key((options.caption_key,) if options.caption_key else _CAPTIONS, "caption_key")

        def convert(example: dict[str, Any], where: str) -> Record:
            found = _strings(_dig(example, caption))
            if not found:
                raise DataError(f"Example {where} of TFDS dataset '{options.name}' has no caption in '{caption}'.")
            return {"id": where, "group": where, "image": bytes(example[image]), "captions": tuple(found)}

        return convert

    def _labelled(self) -> Any:
        options = self.options
        text = self._key((options.text_key,) if options.text_key else _TEXTS, "text_key")
        label = self._key((options.label_key,), "label_key")
        names = getattr(self._features[label], "names", None)

        def convert(example: dict[str, Any], where: str) -> Record:
            value = example[label]
            if names and not 0 <= int(value) < len(names):
                raise DataError(f"Example {where} of TFDS dataset '{options.name}' has no label; choose another split.")
            content = " ".join(" ".join(_strings(_dig(example, text))).split())
            found = names[int(value)] if names else _strings(value)[0]
            return {"id": where, "group": where, "text": content, "label": found}

        return convert

    def _key(self, wanted: tuple[str, ...], option: str) -> str:
        for key in wanted:
            inner: Any = self._features
            for part in key.split("/"):
                inner = getattr(inner, "feature", inner)  # the elements of a sequence
                inner = inner[part] if hasattr(inner, "keys") and part in inner.keys() else None  # noqa: SIM118
            if inner is not None and not hasattr(getattr(inner, "feature", inner), "keys"):
                return key
        raise DataError(
            f"TFDS dataset '{self.options.name}' has no feature {' or '.join(map(repr, wanted))}; it has "
            f"{', '.join(self._features)}. Name one with {option}."
        )

    def _failed(self, error: Exception) -> DataError:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return DataError(f"Cannot read TFDS dataset '{self.options.name}': {reason[:200]}")


class Converted(Sequence[Record]):
    """Some examples of a TFDS data source, converted when asked for."""

    def __init__(self, data: Any, indices: Sequence[int], convert: Any, split: str) -> None:
        """Keep the source; nothing is read yet."""
        self.data = data
        self._indices = indices
        self._convert = convert
        self._split = split

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._indices)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        """Return one record."""
        position = self._indices[index]
        return self._convert(self.data[position], f"{self._split}-{position:07d}")


def _dig(example: Any, key: str) -> Any:
    for part in key.split("/"):
        example = [item[part] for item in example] if isinstance(example, list) else example[part]
    return example


def _strings(value: Any) -> list[str]:
    """Return the non-empty strings of a scalar, list or array of str, bytes or numbers."""
    if isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) > 0:
        return [text for item in value for text in _strings(item)]
    value = value.item() if isinstance(value, (np.ndarray, np.generic)) else value
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return [text.strip()] if text.strip() else []
