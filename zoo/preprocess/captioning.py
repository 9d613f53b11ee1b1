"""Pictures to arrays and tokens to captions.

The vocabulary is plain: `vocab.txt` has one token a line, and a caption is

    "".join(tokens).replace("▁", " ").strip()

so that any client can write it without a tokeniser. A token that begins a word starts with "▁" (U+2581), as in
SentencePiece; languages written without spaces have no such marks. Captions become tokens in training only: the text
is composed (NFC), single-spaced and cut into words and punctuation; each of these pieces is a token (`unit="words"`),
or is cut from left to right into the longest tokens of a byte-pair vocabulary (`unit="bpe"`; Sennrich et al. 2016,
arXiv:1508.07909), or into code points, the word mark being one of its own (`unit="characters"`, for languages written
without spaces).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from zoo.errors import DataError, ModelFileError, require
from zoo.files import strict_json
from zoo.preprocess._base import MAX_LENGTH, Preprocessor, RawInput, vocabulary_lines, whole
from zoo.preprocess.image import checked_size, describe_input, described_size, load_image, made_up_picture
from zoo.results import Caption

PADDING, START, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
"""The first tokens of every vocabulary; they are never part of a caption's text."""

UNITS = ("bpe", "words", "characters")
UNSPACED_LANGUAGES = ("zh", "ja", "th")
"""Languages written without spaces between words."""

WORD_SIGN = "▁"
"""Begins a token that begins a word."""
_PIECE = re.compile(rf"{WORD_SIGN}?\w+|{WORD_SIGN}?[^\w{WORD_SIGN}]|{WORD_SIGN}")
_FORMAT_VERSION = 1


class CaptionPreprocessor(Preprocessor):
    """The image size and the vocabulary of a captioning model.

    Attributes:
        tokens: The vocabulary in the order of the ids; the first four are `SPECIAL`.
        image_size: (height, width) in pixels.
        max_length: Most tokens of a caption, the end included.
        language: ISO 639-1 code of the captions, or "".
        unit: "bpe", "words" or "characters".
    """

    kind: ClassVar[str] = "captioning"

    def __init__(
        self,
        tokens: Sequence[str],
        *,
        image_size: tuple[int, int],
        max_length: int,
        language: str = "",
        unit: str = "bpe",
    ) -> None:
        """Check and keep the parts.

        Raises:
            ValueError: If one of them cannot be.
        """
        if tuple(tokens[: len(SPECIAL)]) != SPECIAL:
            raise ValueError(f"the vocabulary does not begin with {' '.join(SPECIAL)}")
        if len(tokens) <= len(SPECIAL) or len(set(tokens)) != len(tokens) or not all(tokens):
            raise ValueError("the vocabulary has no, an empty or a repeated token")
        if any(len(token.split()) != 1 or token.split()[0] != token for token in tokens):
            raise ValueError("a token contains white space")
        self.image_size = checked_size(image_size)
        if not isinstance(max_length, int) or max_length < 1:
            raise ValueError(f"max_length {max_length} is not at least 1")
        if unit not in UNITS or not isinstance(language, str):
            raise ValueError(f"unit {unit!r} or language {language!r} is unknown")
        self.tokens = tuple(tokens)
        self.max_length = max_length
        self.language = language
        self.unit = unit
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        self._longest = max(map(len, self.tokens[len(SPECIAL) :]))

    @classmethod
    def fit(
        cls,
        captions: Iterable[str],
        *,
        image_size: tuple[int, int],
        vocab_size: int,
        max_length: int,
        language: str = "",
        unit: str = "bpe",
    ) -> Self:
        """Make the vocabulary from training captions; what is kept of them is their different words.

        Args:
            captions: Training captions; gone through twice, and held if that cannot be done.
            image_size: (height, width) in pixels.
            vocab_size: Most tokens, the four special ones included.
            max_length: Upper bound of the tokens of a caption; what the longest training caption needs, one more and
                the end lower it.
            language: ISO 639-1 code, or "".
            unit: "bpe", "words" or "characters".

        Raises:
            DataError: If there is no caption with text.
            MissingExtraError: If `unit` is "bpe" and `tokenizers` is not installed.
        """
        captions = list(captions) if isinstance(captions, Iterator) else captions
        counts = Counter(piece for text in captions for piece in _pieces(text, language))
        if not counts:
            raise DataError("The training split has no caption with text; give images with captions.")
        if unit == "bpe":
            tokens = _byte_pairs(counts, vocab_size)
        else:
            tokens = [*SPECIAL, *_common(counts if unit == "words" else _characters(counts), vocab_size - len(SPECIAL))]
        settings: dict[str, Any] = {"image_size": image_size, "language": language, "unit": unit}
        first = cls(tokens, max_length=max_length, **settings)
        encoded = {piece: first._encode_piece(piece) for piece in counts}
        used = {i for ids in encoded.values() for i in ids}
        # What the longest match never yields (steps on the way to longer tokens) would only widen the output.
        kept = [token for i, token in enumerate(tokens) if i < len(SPECIAL) or i in used or len(token) == 1]
        longest = max(sum(len(encoded[piece]) for piece in _pieces(text, language)) for text in captions)
        return cls(kept, max_length=min(max_length, longest + 2), **settings)

    def encode(self, caption: str) -> list[int]:
        """Return the ids of a caption, without start and end; what is in no token is `UNKNOWN`."""
        return [i for piece in _pieces(caption, self.language) for i in self._encode_piece(piece)]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the caption of ids; special ones are left out."""
        return "".join(self.pieces(ids)).replace(WORD_SIGN, " ").strip()

    def pieces(self, ids: Iterable[int]) -> tuple[str, ...]:
        """Return the tokens of ids; special ones are left out.

        Raises:
            DataError: If an id is outside the vocabulary.
        """
        ids = [int(i) for i in ids]
        if ids and not 0 <= min(ids) <= max(ids) < len(self.tokens):
            raise DataError(f"Token {max(ids)} is outside the vocabulary of {len(self.tokens)}; the file is damaged.")
        return tuple(self.tokens[i] for i in ids if i >= len(SPECIAL))

    def request(self, value: Any) -> dict[str, np.ndarray]:
        """Turn a picture (path, bytes, PIL image, array) into `image` uint8 (1, H, W, 3); see `load_image`."""
        return {"image": load_image(value, self.image_size)[None]}

    def interface(self) -> Any:
        """See the base class."""
        outputs: dict[str, Any] = {
            "tokens": ("int32", ("B", "T")),
            "length": ("int32", ("B",)),
            "score": ("float32", ("B",)),
            "attention": ("float32", ("B", "T", "h", "w")),
        }
        return {"image": ("uint8", ("B", *self.image_size, 3))}, outputs

    def check(self, signatures: Mapping[str, Any]) -> None:
        """See the base class; `encode` and `step` must fit each other and the vocabulary."""
        super().check(signatures)
        if "encode" not in signatures or "step" not in signatures:
            return
        batch = signatures["serving_default"]["inputs"]["image"]["shape"][0]
        encode, step = signatures["encode"], signatures["step"]
        tokens, said = {"shape": [batch], "dtype": "int32"}, {"shape": [batch, len(self.tokens)], "dtype": "float32"}
        state = {name: tensor for name, tensor in step["inputs"].items() if name not in ("token", "position")}
        # Caches that `encode` does not give begin as zeros.
        given = {name: tensor for name, tensor in state.items() if name.startswith("cache_")} | encode["outputs"]
        if (
            encode["inputs"] != signatures["serving_default"]["inputs"]
            or state != given
            or step["inputs"].get("token") != tokens
            or step["inputs"].get("position") != {"shape": [], "dtype": "int32"}
            or step["outputs"].get("next_token") != tokens
            or step["outputs"].get("log_probabilities") != said
            or len(step["outputs"].get("attention", {"shape": []})["shape"]) != 3
            or any(step["outputs"].get(name, tensor) != tensor for name, tensor in state.items())
        ):
            raise ModelFileError("The model's 'encode' and 'step' do not fit each other; export it again.")

    def made_up(self) -> list[RawInput]:
        """Return a disc on stripes in the model's size, and in two others that must be resized."""
        return [RawInput.of_image(made_up_picture(*size)) for size in (self.image_size, (100, 60), (40, 130))]

    def result(self, request: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> Caption:
        """Turn the serving outputs of one picture into a caption."""
        length = int(np.reshape(outputs["length"], -1)[0])
        ids = np.reshape(outputs["tokens"], (-1,))[:length]
        attention = np.asarray(outputs["attention"], np.float32)
        return Caption(
            text=self.decode(ids),
            score=float(np.reshape(outputs["score"], -1)[0]),
            tokens=self.pieces(ids),
            attention=attention.reshape(-1, *attention.shape[-2:])[:length],
        )

    def files(self) -> dict[str, bytes]:
        """Return `preprocessor.json` and `vocab.txt`."""
        description = {
            "kind": self.kind,
            "format_version": _FORMAT_VERSION,
            "image": describe_input(self.image_size),
            "max_length": self.max_length,
            "language": self.language,
            "unit": self.unit,
            "ids": {"padding": PADDING, "start": START, "end": END, "unknown": UNKNOWN},
        }
        text = json.dumps(description, ensure_ascii=False, indent=2) + "\n"
        return {"preprocessor.json": text.encode(), "vocab.txt": ("\n".join(self.tokens) + "\n").encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Rebuild from `files()`."""
        description = strict_json(files["preprocessor.json"])
        if description["format_version"] != _FORMAT_VERSION:
            raise ValueError(f"format version {str(description['format_version'])[:40]!r} is not known")
        return cls(
            vocabulary_lines(files["vocab.txt"]),
            image_size=described_size(description["image"]),
            max_length=whole(description["max_length"], "max_length", 1, MAX_LENGTH),
            language=description["language"],
            unit=description["unit"],
        )

    def _encode_piece(self, piece: str) -> list[int]:
        if self.unit == "words":
            return [self._ids.get(piece, UNKNOWN)]
        ids, start = [], 0
        while start < len(piece):
            for stop in range(min(len(piece), start + self._longest), start, -1):
                token = self._ids.get(piece[start:stop])
                if token is not None:
                    break
            else:
                token, stop = UNKNOWN, start + 1
            ids.append(token)
            start = stop
        return ids


def _pieces(text: str, language: str) -> list[str]:
    """Cut a caption into words and punctuation marks: "red hair!" -> ["▁red", "▁hair", "!"]."""
    words = unicodedata.normalize("NFC", text).replace(WORD_SIGN, " ").split()
    first = "" if language in UNSPACED_LANGUAGES else WORD_SIGN
    return _PIECE.findall(first + WORD_SIGN.join(words)) if words else []


def _common(counts: Counter[str], size: int) -> list[str]:
    """Return at most `size` keys, the most frequent first, equal ones by code point."""
    return sorted(counts, key=lambda key: (-counts[key], key))[:size]


def _characters(counts: Counter[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for piece, count in counts.items():
        for character in piece:
            found[character] += count
    return found


def _byte_pairs(counts: Counter[str], vocab_size: int) -> list[str]:
    tokenizers = require("tokenizers", extra="tf", purpose="Training a byte-pair vocabulary")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        limit_alphabet=max(1, vocab_size - len(SPECIAL)),
        special_tokens=list(SPECIAL),
        show_progress=False,
    )
    tokenizer.train_from_iterator((piece for piece in counts for _ in range(counts[piece])), trainer)
    ids = tokenizer.get_vocab()
    return sorted(ids, key=ids.__getitem__)
