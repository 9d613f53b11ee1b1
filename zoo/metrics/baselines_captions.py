"""Plain captioning baselines: the caption of the nearest training picture, and the same after undoing skin tones.

The second one is made for Twemoji: its artwork draws the five skin tones with fixed fill colours, so a picture can be
turned back to the default yellow, found among the yellow-turned training pictures and named with its own tone. A model
that only beats the first baseline may have learned no more than that trick. With `every_tone=True` it becomes an expert
rule that knows all of the artwork's palette and the grammar of its names; it shows how much of the task such knowledge
solves without learning.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from PIL import Image

from zoo.errors import DataError, require
from zoo.metrics.captions import caption_metrics

SIZES = (72, 24, 12)
"""Edge lengths in pixels at which pictures are compared."""

# Twemoji's palette. Row 0 is the default yellow, rows 1 to 5 the tones U+1F3FB (light) to U+1F3FF (dark); columns:
# fill, shadow, hair.
_PALETTE = np.array(
    [
        [(0xFF, 0xDC, 0x5D), (0xEF, 0x96, 0x45), (0xFF, 0xAC, 0x33)],
        [(0xF7, 0xDE, 0xCE), (0xE0, 0xAA, 0x94), (0x29, 0x2F, 0x33)],
        [(0xF3, 0xD2, 0xA2), (0xD2, 0xA0, 0x77), (0xFF, 0xE5, 0x1E)],
        [(0xD5, 0xAB, 0x88), (0xB7, 0x8B, 0x60), (0x96, 0x3B, 0x22)],
        [(0xAF, 0x7E, 0x57), (0x90, 0x60, 0x3E), (0x60, 0x35, 0x2A)],
        [(0x7C, 0x53, 0x3E), (0x58, 0x35, 0x29), (0x0B, 0x02, 0x00)],
    ],
    np.int16,
)
_TONE_EMOJI = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
_EXACT = 3  # largest difference a channel for a pixel to count as the fill colour
_NEAR = 24  # and for it to be recoloured: the anti-aliased rim of a flat shape
_LEAST_PIXELS = 24  # a tone covers at least so many of 72 x 72 pixels ...
_LEAST_SHARE = 0.15  # ... and this share of the most frequent tone's pixels


def nearest_indices(train_images: np.ndarray, test_images: np.ndarray, size: int, chunk: int = 512) -> np.ndarray:
    """Find the training picture with the least L2 distance to each test picture.

    Args:
        train_images: uint8 (N, H, W, 3), pictures on white.
        test_images: uint8 (M, H, W, 3).
        size: Both are resized to `size` x `size` pixels (box filter) before the comparison.
        chunk: Pictures held as float at a time; bounds the memory.

    Returns:
        int64 (M,), indices into `train_images`; of equals the first.

    Raises:
        DataError: If an array is not a non-empty stack of RGB pictures.
    """
    train, test = _flat(train_images, size, "training"), _flat(test_images, size, "test")
    nearest = np.zeros(len(test), np.int64)
    for start in range(0, len(test), chunk):
        queries = test[start : start + chunk].astype(np.float32) - 128.0
        best = np.full(len(queries), np.inf)
        for offset in range(0, len(train), chunk):
            keys = train[offset : offset + chunk].astype(np.float32) - 128.0
            # |q|^2 is the same for every key and left out
            distance = (keys.astype(np.float64) ** 2).sum(1) - 2.0 * (queries @ keys.T)
            position = distance.argmin(1)
            value = distance[np.arange(len(queries)), position]
            better = value < best
            best[better] = value[better]
            nearest[start : start + chunk][better] = position[better] + offset
    return nearest


def nearest_image(
    train_images: np.ndarray,
    train_captions: Sequence[Sequence[str]],
    test_images: np.ndarray,
    sizes: Sequence[int] = SIZES,
) -> dict[int, list[str]]:
    """Caption every test picture with the first caption of its nearest training picture.

    Args:
        train_images: uint8 (N, H, W, 3), pictures on white.
        train_captions: For each, one or more captions.
        test_images: uint8 (M, H, W, 3).
        sizes: Edge lengths at which to compare.

    Returns:
        For each size the M captions.

    Raises:
        DataError: If the arrays are no pictures or the captions are not as many.
    """
    _check_captions(train_images, train_captions)
    return {size: [train_captions[i][0] for i in nearest_indices(train_images, test_images, size)] for size in sizes}


def nearest_image_baseline(
    train_images: np.ndarray,
    train_captions: Sequence[Sequence[str]],
    test_images: np.ndarray,
    references: Sequence[Sequence[str]],
    language: str = "en",
    sizes: Sequence[int] = SIZES,
    groups: Sequence[Hashable] | None = None,
) -> tuple[int, dict[int, dict[str, float]], dict[int, list[str]]]:
    """Measure `nearest_image` at each size; the best has the highest CIDEr on this very test set, in its favour.

    Args:
        train_images: uint8 (N, H, W, 3), pictures on white.
        train_captions: For each, one or more captions.
        test_images: uint8 (M, H, W, 3).
        references: For each test picture, its true captions.
        language: Two-letter code, see `zoo.metrics.captions.tokenize_caption`.
        sizes: Edge lengths at which to compare.
        groups: As in `zoo.metrics.captions.caption_metrics`.

    Returns:
        The best size, the metrics of every size, and the captions of every size.
    """
    captions = nearest_image(train_images, train_captions, test_images, sizes)
    metrics = {size: caption_metrics(texts, references, language, groups) for size, texts in captions.items()}
    return max(metrics, key=lambda size: metrics[size]["cider"]), metrics, captions


@functools.cache
def tone_names(language: str = "en") -> tuple[str, ...]:
    """Return what the five skin tones are called, light to dark: the names of the tone emoji themselves.

    Raises:
        MissingExtraError: If the package `emoji` is not installed.
        DataError: If it has no names in that language.
    """
    emoji = require("emoji", extra="demo", purpose="The skin-tone baseline")
    if language not in emoji.LANGUAGES:
        raise DataError(f"No emoji names in language '{language}'; known: {', '.join(emoji.LANGUAGES)}.")
    emoji.config.load_language(language)
    return tuple(emoji.EMOJI_DATA[tone][language].strip(":").replace("_", " ") for tone in _TONE_EMOJI)


def detect_tones(image: np.ndarray) -> tuple[int, ...]:
    """Find the skin tones of a Twemoji picture by counting pixels of their fill colours.

    Args:
        image: uint8 (H, W, 3), on white.

    Returns:
        Tones 0 (light) to 4 (dark) in the order of their pixels' mean column, left to right; none for a default
        picture.
    """
    masks = _fill_masks(image)
    shares = masks.mean((1, 2))
    least = max(_LEAST_PIXELS / 72**2, _LEAST_SHARE * float(shares.max()))
    found = [tone for tone in range(5) if shares[tone] >= least]
    return tuple(sorted(found, key=lambda tone: float(np.nonzero(masks[tone])[1].mean())))


def dominant_tone(image: np.ndarray) -> tuple[int, ...]:
    """Return the tone of `detect_tones` with the most pixels, alone; none for a default picture."""
    tones = detect_tones(image)
    return (max(tones, key=lambda tone: int(_fill_masks(image)[tone].sum())),) if len(tones) > 1 else tones


def recolour_to_yellow(image: np.ndarray, tones: Sequence[int]) -> np.ndarray:
    """Replace the fill, shadow and hair colours of `tones` by those of the default yellow figure.

    Args:
        image: uint8 (H, W, 3), on white.
        tones: From `detect_tones`.

    Returns:
        uint8 (H, W, 3).
    """
    pixels, result = image.astype(np.int16), image.copy()
    for tone in tones:
        for source, target in zip(_PALETTE[tone + 1], _PALETTE[0], strict=True):
            near = np.abs(pixels - source).max(-1) <= _NEAR
            result[near] = np.clip(pixels[near] - source + target, 0, 255)
    return result


def recolour_nearest_paste(
    train_images: np.ndarray,
    train_captions: Sequence[Sequence[str]],
    test_images: np.ndarray,
    language: str = "en",
    size: int = 72,
    every_tone: bool = False,
) -> list[str]:
    """Caption Twemoji pictures by colour-blind nearest picture and this picture's own skin tone.

    1. Every picture, of training and test, is recoloured to yellow (`detect_tones`, `recolour_to_yellow`).
    2. The nearest recoloured training picture lends its caption, from which the tones named there are cut out.
    3. The name of the test picture's (dominant) tone is pasted at the end.

    Args:
        train_images: uint8 (N, H, W, 3), pictures on white.
        train_captions: For each, one or more captions.
        test_images: uint8 (M, H, W, 3).
        language: Two-letter code of the captions.
        size: Edge length at which pictures are compared.
        every_tone: The expert rule. Step 3 then writes all tones of the picture, left to right: where they stood in the
            borrowed caption, else where they stand in another training caption that is the same without its tones,
            else at the end.

    Returns:
        M captions.

    Raises:
        DataError: If the arrays are no pictures, the captions are not as many, or the language is unknown.
        MissingExtraError: If the package `emoji` is not installed.
    """
    _check_captions(train_images, train_captions)
    _check_pictures(train_images, "training")
    _check_pictures(test_images, "test")
    writer = _ToneWriter([captions[0] for captions in train_captions], tone_names(language))
    yellow_train = np.stack([recolour_to_yellow(image, detect_tones(image)) for image in train_images])
    yellow_test = np.stack([recolour_to_yellow(image, detect_tones(image)) for image in test_images])
    borrowed = [train_captions[i][0] for i in nearest_indices(yellow_train, yellow_test, size)]
    pairs = zip(borrowed, test_images, strict=True)
    if every_tone:
        return [writer.rewrite(caption, detect_tones(image)) for caption, image in pairs]
    return [writer.paste(caption, dominant_tone(image)) for caption, image in pairs]


class _ToneWriter:
    """Exchanges the skin tones named in a caption."""

    def __init__(self, captions: Sequence[str], names: Sequence[str]) -> None:
        self._names = list(names)
        # longest first: "medium-light skin tone" before "light skin tone"; any of space, hyphen and underscore matches
        words = {name: r"[\s_-]+".join(map(re.escape, re.split(r"[\s_-]+", name.lower()))) for name in names}
        parts = sorted(((words[name], tone) for tone, name in enumerate(names)), key=lambda part: -len(part[0]))
        self._pattern = re.compile("|".join(f"(?P<t{tone}>{part})" for part, tone in parts), re.IGNORECASE)
        self._templates: dict[tuple[str, int], Counter[str]] = {}
        surfaces: list[Counter[str]] = [Counter() for _ in names]
        for caption in captions:
            found = list(self._pattern.finditer(caption))
            for match in found:
                surfaces[self._tone(match)][match.group()] += 1
            if found:
                key = (self._strip(caption), len(found))
                self._templates.setdefault(key, Counter())[self._pattern.sub("\0", caption)] += 1
        for tone, counter in enumerate(surfaces):  # spell a tone as the training captions do
            if counter:
                self._names[tone] = counter.most_common(1)[0][0]

    def paste(self, caption: str, tones: Sequence[int]) -> str:
        """Return `caption` without the tones it names and with `tones` at its end."""
        return " ".join([self._strip(caption), *(self._names[tone] for tone in tones)])

    def rewrite(self, caption: str, tones: Sequence[int]) -> str:
        """Return `caption` with `tones` in the place of whatever tones it names."""
        plain = self._strip(caption)
        if not tones:
            return plain
        template = self._pattern.sub("\0", caption)
        if template.count("\0") != len(tones):
            known = self._templates.get((plain, len(tones)))
            if known:
                template = known.most_common(1)[0][0]
            elif "\0" in template and len(tones) == 1:  # two persons of the same tone
                return template.replace("\0", self._names[tones[0]])
            else:
                return self.paste(caption, tones)
        for tone in tones:
            template = template.replace("\0", self._names[tone], 1)
        return template

    def _strip(self, caption: str) -> str:
        return " ".join(self._pattern.sub(" ", caption).split())

    @staticmethod
    def _tone(match: re.Match[str]) -> int:
        return int((match.lastgroup or "t0")[1:])


def _flat(images: np.ndarray, size: int, what: str) -> np.ndarray:
    """Resize pictures to `size` and flatten them to uint8 (N, size * size * 3)."""
    _check_pictures(images, what)
    if images.shape[1:3] == (size, size):
        return images.reshape(len(images), -1)
    resized = [Image.fromarray(image).resize((size, size), Image.Resampling.BOX) for image in images]
    return np.stack([np.asarray(image).reshape(-1) for image in resized])


def _fill_masks(image: np.ndarray) -> np.ndarray:
    """Return bool (5, H, W): where each tone's fill colour is."""
    return np.abs(image.astype(np.int16) - _PALETTE[1:, 0][:, None, None]).max(-1) <= _EXACT


def _check_pictures(images: np.ndarray, what: str) -> None:
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or not len(images):
        raise DataError(f"The {what} pictures are {images.dtype}{images.shape}; expected uint8 (N, H, W, 3), N >= 1.")


def _check_captions(images: np.ndarray, captions: Sequence[Sequence[str]]) -> None:
    if len(images) != len(captions):
        raise DataError(f"Got {len(images)} training pictures and captions for {len(captions)}; give as many.")
    for i, texts in enumerate(captions):
        if isinstance(texts, str) or not len(texts):
            raise DataError(f"Training picture {i} has no list of captions; give one or more.")
