"""Text to token ids and class probabilities back to an answer, in plain Python and numpy.

The steps are few and explicit, so that a client in another language can repeat them (version 1 of the rules):

1. Cut: of a text longer than `16 * max_length` code points only the first and the last half of that many are read.
2. Replace the HTML entities of `ENTITIES`, in order; then Unicode NFKC; then Unicode lower-case.
3. Split into words, character by character (Unicode general categories):
   - white space, control and unassigned characters (Z*, Cc, Cn, Co, Cs) end a word; format characters (Cf) and
     variation selectors (U+FE00 to U+FE0F) vanish;
   - letters, marks and numbers (L*, M*, N*) continue a word, except that every Han ideograph is a word of its
     own;
   - any other character (punctuation, symbols, emoji) is a word of its own.
   A stretch of non-space characters that starts with `http://`, `https://` or `www.` is the word `[URL]`.
4. In a word, a character that is repeated more than twice in a row is kept twice ("soooo" -> "soo"); of equal
   one-character words in a row that are neither letters, marks nor numbers ("!!!!") two are kept.
5. Cut every word into pieces, longest piece of the vocabulary first (WordPiece; pieces inside a word start with `##`).
   A word that cannot be cut, or is over 64 characters long, is `[UNK]`.
6. Of more than `max_length` pieces keep the first `head` and the last `max_length - head`. Pad with 0. No piece at all
   is one `[UNK]`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from zoo.errors import DataError, require
from zoo.files import strict_json
from zoo.preprocess._base import MAX_LENGTH, Preprocessor, RawInput, vocabulary_lines, whole
from zoo.results import Classification

SPECIAL = ("[PAD]", "[UNK]", "[MASK]", "[URL]")
PAD, UNK, MASK = 0, 1, 2
ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&"))
FORMAT_VERSION = 1

_HAN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))
_LINKS = re.compile(r"(?:https?://|www\.)\S+")
_REPEATS = re.compile(r"(.)\1{2,}")
_LONGEST_WORD = 64
_SPACE, _WORD, _SINGLE, _NOTHING, _HAN_CHARACTER = range(5)
_MADE_UP = (
    "\u200b\t \n",
    "&lt;b&gt;AT&amp;T&lt;/b&gt; it&#39;s&nbsp;ok, see https://example.org/a?b=c#d or WWW.example.org!!!! soooo GOOD",
    "很好！物流快 👍🏽👍🏽👍🏽❤️ ﬁne CAFÉ e\u0301 №5 ½ ٣ أهلا ВПЕРЁД नमस्ते ΟΔΥΣΣΕΥΣ İzmir @user #tag_1",
)


class TextPreprocessor(Preprocessor):
    """WordPiece over words, single Han characters and single symbols.

    Attributes:
        vocabulary: Token of every id; ids 0 to 3 are `SPECIAL`.
        class_names: Names of the classes, in class order.
        max_length: Number of ids a text becomes.
        head: How many of them are from the start of a text that is too long; the rest are from its end.
    """

    kind = "text_classification"

    def __init__(self, vocabulary: Sequence[str], class_names: Sequence[str], *, max_length: int, head: int) -> None:
        """Keep the parts, after checking that they fit together.

        Raises:
            ValueError: If the vocabulary is not one, or a number is out of range.
        """
        if tuple(vocabulary[: len(SPECIAL)]) != SPECIAL or len(set(vocabulary)) != len(vocabulary):
            raise ValueError(f"the vocabulary must start with {', '.join(SPECIAL)} and hold every token once")
        if len(class_names) < 2 or len(set(class_names)) != len(class_names):
            raise ValueError("there must be at least two class names, each once")
        if not (1 <= max_length <= MAX_LENGTH and 0 <= head <= max_length):
            raise ValueError(f"max_length {max_length} and head {head} do not fit together")
        self.vocabulary = tuple(vocabulary)
        self.class_names = tuple(class_names)
        self.max_length = max_length
        self.head = head
        self._ids = {token: index for index, token in enumerate(self.vocabulary)}
        self._longest = max(map(len, self.vocabulary))
        self._cache: dict[str, list[int]] = {}

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        class_names: Sequence[str],
        *,
        vocab_size: int = 8000,
        max_length: int = 64,
        head_fraction: float = 1.0,
    ) -> Self:
        """Learn the vocabulary from texts (of the training split); the same texts give the same vocabulary.

        Args:
            texts: The training texts.
            class_names: Names of the classes, in class order.
            vocab_size: Largest number of tokens, specials included.
            max_length: Number of ids a text becomes.
            head_fraction: Which part of a text that is too long comes from its start, 0 to 1.

        Raises:
            DataError: If a text is not a string or there are no words at all.
            MissingExtraError: If `tokenizers` is not installed (only fitting needs it).
        """
        limit = 16 * max_length
        counts = Counter(word for text in texts for word in split_words(_checked(text), limit))
        for marker in SPECIAL:
            counts.pop(marker, None)
        if not counts:
            raise DataError("The training texts hold no word; check the text column.")
        return cls(
            [*SPECIAL, *_train_pieces(counts, vocab_size - len(SPECIAL))],
            class_names,
            max_length=max_length,
            head=round(head_fraction * max_length),
        )

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of a text, int32 (max_length,), padded with 0; at least one id is not padding.

        Raises:
            DataError: If `text` is not a string.
        """
        ids: list[int] = []
        for word in split_words(_checked(text), 16 * self.max_length):
            pieces = self._cache.get(word)
            if pieces is None:
                pieces = self._pieces(word)
                if len(self._cache) < 200_000 and len(word) <= _LONGEST_WORD:
                    self._cache[word] = pieces
            ids += pieces
        if len(ids) > self.max_length:
            ids = ids[: self.head] + ids[len(ids) - (self.max_length - self.head) :]
        tokens = np.zeros(self.max_length, np.int32)
        tokens[: max(1, len(ids))] = ids or [UNK]
        return tokens

    def encode_all(self, texts: Iterable[str]) -> np.ndarray:
        """Return the ids of many texts, int32 (N, max_length)."""
        rows = [self.encode(text) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self.max_length), np.int32)

    def request(self, value: Any) -> dict[str, np.ndarray]:
        """Turn one text into the serving input `tokens`, int32 (1, max_length).

        Raises:
            DataError: If `value` is not a string.
        """
        return {"tokens": self.encode(value)[None]}

    def interface(self) -> Any:
        """See the base class."""
        outputs: dict[str, Any] = {
            "probabilities": ("float32", ("B", len(self.class_names))),
            "token_weights": ("float32", ("B", self.max_length)),
        }
        return {"tokens": ("int32", ("B", self.max_length))}, outputs

    def made_up(self) -> list[RawInput]:
        """Return texts with entities, links, scripts, emoji, repetitions, too great a length, and no word at all."""
        longer = " ".join(f"{i} good" for i in range(4 * self.max_length))
        return [RawInput.of_text(text) for text in (*_MADE_UP, longer)]

    def result(self, request: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> Classification:
        """Name the classes; the weights of a word's pieces are added up, so that words are shown."""
        probabilities = np.asarray(outputs["probabilities"], np.float64).reshape(-1)
        weights = np.asarray(outputs["token_weights"], np.float64).reshape(-1)
        words: list[tuple[str, float]] = []
        for token, weight in zip(np.asarray(request["tokens"]).reshape(-1), weights, strict=True):
            if token == PAD:
                continue
            piece = self.vocabulary[token]
            if piece.startswith("##") and words:
                words[-1] = (words[-1][0] + piece[2:], words[-1][1] + float(weight))
            else:
                words.append((piece, float(weight)))
        return Classification(
            label=self.class_names[int(np.argmax(probabilities))],
            probabilities={name: float(p) for name, p in zip(self.class_names, probabilities, strict=True)},
            token_weights=tuple(words),
        )

    def files(self) -> dict[str, bytes]:
        """Return `preprocessor.json` and `vocab.txt` (one token a line, the line's number is the id)."""
        description = {
            "kind": self.kind,
            "format_version": FORMAT_VERSION,
            "tokenizer": "wordpiece",
            "rules": 1,
            "classes": self.class_names,
            "max_length": self.max_length,
            "head": self.head,
            "pad_id": PAD,
            "unknown_id": UNK,
        }
        return {
            "preprocessor.json": (json.dumps(description, ensure_ascii=False, indent=2) + "\n").encode("utf-8"),
            "vocab.txt": ("\n".join(self.vocabulary) + "\n").encode("utf-8"),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Rebuild from `files()`."""
        description = strict_json(files["preprocessor.json"])
        if description["format_version"] != FORMAT_VERSION or description["rules"] != 1:
            raise ValueError("it was written by a newer version")
        max_length, head = (whole(description[name], name, 0, MAX_LENGTH) for name in ("max_length", "head"))
        classes = description["classes"]
        if not isinstance(classes, list) or not all(isinstance(name, str) and len(name) <= 256 for name in classes):
            raise ValueError("the classes are not a list of names")
        return cls(vocabulary_lines(files["vocab.txt"]), classes, max_length=max_length, head=head)

    def _pieces(self, word: str) -> list[int]:
        """Cut one word, longest piece first."""
        if word in self._ids:
            return [self._ids[word]]
        pieces: list[int] = []
        start = 0
        while start < len(word) <= _LONGEST_WORD:
            prefix = "##" if start else ""
            for end in range(min(len(word), start + self._longest), start, -1):
                found = self._ids.get(prefix + word[start:end])
                if found is not None:
                    break
            else:
                return [UNK]
            pieces.append(found)
            start = end
        return pieces or [UNK]


def split_words(text: str, limit: int) -> list[str]:
    """Split a text into normalised words (steps 1 to 4 of the module).

    Args:
        text: Any string; lone surrogates are treated as spaces.
        limit: Number of code points that are read of a longer text, half of them from its end.
    """
    if len(text) > limit:
        text = f"{text[: limit // 2]} {text[len(text) - limit // 2 :]}"
    for entity, character in ENTITIES:
        text = text.replace(entity, character)
    text = unicodedata.normalize("NFKC", text).lower()
    words: list[str] = []
    end = 0
    for match in _LINKS.finditer(text):
        _split_plain(text[end : match.start()], words)
        words.append("[URL]")
        end = match.end()
    _split_plain(text[end:], words)
    return words


def _split_plain(text: str, words: list[str]) -> None:
    """Append the words of a text without links to `words`."""
    current: list[str] = []
    for character in text:
        kind = _KINDS.get(character)
        if kind is None:
            kind = _KINDS[character] = _kind(character)
        if kind == _WORD:
            current.append(character)
            continue
        if kind == _NOTHING:
            continue
        if current:
            words.append(_squeeze("".join(current)))
            current = []
        # Two of the same symbol say as much as ten.
        if kind == _HAN_CHARACTER or (kind == _SINGLE and words[-2:] != [character, character]):
            words.append(character)
    if current:
        words.append(_squeeze("".join(current)))


def _squeeze(word: str) -> str:
    return _REPEATS.sub(r"\1\1", word)


_KINDS: dict[str, int] = {}


def _kind(character: str) -> int:
    code, category = ord(character), unicodedata.category(character)
    if character.isspace() or category in ("Cc", "Cn", "Co", "Cs") or category[0] == "Z":
        return _SPACE
    if category == "Cf" or 0xFE00 <= code <= 0xFE0F:
        return _NOTHING
    if any(low <= code <= high for low, high in _HAN):
        return _HAN_CHARACTER
    return _WORD if category[0] in "LMN" else _SINGLE


def _checked(text: Any) -> str:
    if not isinstance(text, str):
        raise DataError(f"A text must be a string, not {type(text).__name__}; give one sentence or review.")
    return text


def _train_pieces(counts: Counter[str], size: int) -> list[str]:
    """Learn at most `size` pieces from word counts, most useful first; deterministic."""
    tokenizers = require("tokenizers", extra="tf", purpose="Fitting a text vocabulary")
    letters: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            letters[character] += count
    # Characters seen once would only teach the model noise; at most half the room goes to single characters.
    ranked = sorted((c for c in letters if letters[c] > 1), key=lambda c: (-letters[c], c)) or sorted(letters)
    alphabet = sorted(ranked[: max(1, size // 2 if _spaced(counts) else size)])
    known = set(alphabet)
    inner = {f"##{c}" for word in counts for c in word[1:] if c in known}
    fixed = [*alphabet, *sorted(inner)][:size]
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=2,
        limit_alphabet=len(alphabet),
        # Given as special tokens, single characters get ids in this order; else the order, and with it the choice
        # among equally frequent merges, would differ from process to process.
        special_tokens=fixed,
        show_progress=False,
    )
    model = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    usable = (word for word, count in sorted(counts.items()) for _ in range(count) if set(word) <= known)
    model.train_from_iterator(usable, trainer)
    learned = model.get_vocab()
    return sorted(learned, key=lambda token: (learned[token], token))[:size]


def _spaced(counts: Counter[str]) -> bool:
    """Whether most words are longer than one character (unlike Chinese text)."""
    return sum(counts[word] for word in counts if len(word) > 1) * 2 > counts.total()
