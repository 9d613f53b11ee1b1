from __future__ import annotations

import io
import subprocess
import sys

import pytest
from PIL import Image

from zoo import datasets
from zoo.datasets._write_shards import write_shards
from zoo.errors import ConfigError, DataError

# TFDS needs TensorFlow to write a dataset, and none to read one.
BUILD = """
import sys
import numpy as np
import tensorflow_datasets as tfds

class TinyPictures(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(None, None, 3)),
            "captions": tfds.features.Sequence({"text": tfds.features.Text(), "id": np.int64}),
            "label": tfds.features.ClassLabel(names=["dark", "bright"]),
            "text": tfds.features.Text(),
        }))

    def _split_generators(self, manager):
        return {"train": self._generate_examples(0, 30), "test": self._generate_examples(100, 105)}

    def _generate_examples(self, start=0, stop=0):
        for i in range(start, stop):
            yield str(i), {
                "image": np.full((8, 8, 3), i, np.uint8),
                "captions": [{"text": f"shade {i}", "id": 0}, {"text": f"grey  {i}", "id": 1}],
                "label": int(i >= 15),
                "text": f"it is {i}",
            }

TinyPictures(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    subprocess.run([sys.executable, "-P", "-c", BUILD, str(folder)], check=True, capture_output=True)
    return str(folder)


def load(data_dir, task="captioning", name="tiny_pictures", **options):
    return datasets.load(f"tfds:{name}", task=task, data_dir=data_dir, download=False, **options)


def test_captioning(data_dir):
    data = load(data_dir, language="en")
    splits = data.splits()
    assert {name: len(source) for name, source in splits.items()} == {"train": 27, "valid": 3, "test": 5}
    assert (data.task, data.language) == ("captioning", "en")
    assert data.licence.url.endswith("/tiny_pictures")
    assert not data.licence.weights_may_ship
    shades = []
    for source in splits.values():
        for record in source:
            assert set(record) == {"id", "group", "image", "captions"}
            with Image.open(io.BytesIO(record["image"])) as image:
                shade = image.convert("RGB").getpixel((0, 0))[0]
            assert record["captions"] in {(f"shade {shade}", f"grey  {shade}"), (f"grey  {shade}", f"shade {shade}")}
            shades.append(shade)
    assert sorted(shades) == [*range(30), *range(100, 105)]


def test_text_classification(data_dir):
    data = load(data_dir, task="text_classification")
    assert data.class_names == ("dark", "bright")
    for source in data.splits().values():
        for record in source:
            number = int(record["text"].removeprefix("it is "))
            assert record["label"] == ("bright" if number >= 15 else "dark")


def test_split_mapping(data_dir):
    splits = load(data_dir, train="train[:50%]", valid="train[50%:]").splits()
    assert {name: len(source) for name, source in splits.items()} == {"train": 15, "valid": 15, "test": 5}
    assert not {r["captions"] for r in splits["train"]} & {r["captions"] for r in splits["valid"]}
    first = [record["id"] for record in load(data_dir).split("valid")]
    assert first == [record["id"] for record in load(data_dir).split("valid")]
    assert first != [record["id"] for record in load(data_dir, seed=5).split("valid")]


# As if TensorFlow were not installed: no finder knows it.
HIDE = """
import sys
from importlib.machinery import PathFinder

class Hidden(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] == "tensorflow" else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hidden
"""


def test_reading_needs_no_tensorflow(data_dir):
    code = f"""{HIDE}
from zoo import datasets
data = datasets.load("tfds:tiny_pictures", task="captioning", data_dir={data_dir!r}, download=False)
print(len(list(data.split("train"))), "tensorflow" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["27", "False"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "tiny_picture"}, "Cannot read TFDS dataset 'tiny_picture': "),
        ({"data_dir": "/nonexistent/folder"}, "Cannot read TFDS dataset 'tiny_pictures'"),
        ({"name": ""}, "No TFDS dataset is named"),
        ({"train": "all"}, "has no split 'all'; it has test, train|has no split 'all'; it has train, test"),
        ({"image_key": "photo"}, "has no feature 'photo'; it has .*image.*Name one with image_key"),
        ({"image_key": "label"}, "Feature 'label' of TFDS dataset 'tiny_pictures' is no picture"),
        ({"caption_key": "captions"}, "has no feature 'captions'; .*Name one with caption_key"),
        ({"task": "text_classification", "label_key": "stars"}, "has no feature 'stars'"),
    ],
)
def test_errors_are_one_line(data_dir, options, message):
    with pytest.raises(DataError, match=message) as caught:
        load(**{"data_dir": data_dir, **options}).splits()
    assert "\n" not in str(caught.value)


def test_forecasting_is_not_offered(data_dir):
    with pytest.raises(ConfigError, match="task is 'forecasting'"):
        load(data_dir, task="forecasting")


def test_stored_options_open_it_again(data_dir, tmp_path):
    """What a run, or shards, keep of the options is what `load` takes."""
    data = load(data_dir, task="text_classification", text_key="text")
    again = datasets.load("tfds:tiny_pictures", task="text_classification", **data.options.to_dict())
    assert again.options == data.options
    manifest = write_shards(data, tmp_path / "shards", shards=2)
    assert manifest.splits["train"].labels == {"bright": 13, "dark": 14} and manifest.class_names == ("dark", "bright")
    assert manifest.options == data.options.to_dict()
