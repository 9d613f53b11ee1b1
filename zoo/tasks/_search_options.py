"""How captions are searched: the options of captioning's serving function, and what they come to for one model."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from zoo.config import BaseConfig, setting
from zoo.errors import ConfigError
from zoo.preprocess.captioning import SPECIAL, UNKNOWN, WORD_SIGN, CaptionPreprocessor

Word = tuple[int, ...]

_BEAMS = {"beam": 3, "consensus": 16}
_MOST_VOTERS = 32  # the n-grams of all are compared with all
_MOST_NEVER = 256
_MOST_MUST = 4
_MOST_STATES = 16
_ONLY = {"beam": ("must", "length_penalty"), "sample": ("temperature", "top_k", "top_p", "seed")}
_ALWAYS = ("beam_width", "length_penalty", "max_length")


@dataclass(frozen=True)
class SearchOptions(BaseConfig):
    """Options of the search. Words are given as in a caption, one or several (`"tennis court"`)."""

    search: str | None = setting(None, choices=("greedy", "beam", "consensus", "sample"))
    """Captioning: greedy, beam, consensus (of the captions that beam search keeps, the one most like all of them) or
    sample; when not given, beam if beam_width is above 1 or a word must come, else greedy."""
    beam_width: int | None = setting(None, low=1, high=64)
    """Captioning: captions that beam search keeps; when not given 3, and for consensus 16 (at most 32)."""
    length_penalty: float = setting(1.0, low=0.0, high=5.0)
    """Captioning, beam search: exponent of the length by which a log-probability is divided; 0 prefers short ones."""
    max_length: int | None = setting(None, low=1)
    """Captioning: most tokens of a caption; the model's own limit when not given."""
    temperature: float = setting(1.0, low=0.01, high=100.0)
    """Captioning, sample: what log-probabilities are divided by; below 1 probable words come more often."""
    top_k: int = setting(0, low=0, high=100_000)
    """Captioning, sample: draw from so many most probable tokens; 0 for all."""
    top_p: float = setting(1.0, low=0.001, high=1.0)
    """Captioning, sample: draw from the fewest most probable tokens with this share."""
    seed: int | None = setting(None, low=0, high=2**31 - 1)
    """Captioning, sample: what the random numbers follow from; 0 when not given."""
    no_repeat_ngram: int = setting(0, low=0, high=16)
    """Captioning: length in tokens of the sequences that no caption holds twice; 0 for no such rule."""
    never: tuple[str, ...] = ()
    """Captioning: words that no caption may hold."""
    must: tuple[str, ...] = ()
    """Captioning, beam search: words that every caption must hold."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Return the options of a mapping; a word alone is one word.

        Raises:
            ConfigError: If one does not exist, is out of range or does not go with the others.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := [name for name in options if name not in known]:
            raise ConfigError(f"Captioning has no serving option '{unknown[0]}'; it has {', '.join(known)}.")
        lists = {name: (words,) for name in ("never", "must") if isinstance(words := options.get(name), str)}
        return cls(**{**options, **lists})

    @property
    def kind(self) -> str:
        """Which search it is: greedy, beam, consensus or sample."""
        return self.search or ("beam" if (self.beam_width or 1) > 1 or self.must else "greedy")

    def check(self) -> None:
        """Check relations between fields."""
        if self.kind not in _BEAMS and (self.beam_width or 1) > 1:
            raise self.fail("beam_width", f"left out, or 1, where the search is '{self.kind}'")
        if self.kind == "consensus" and not 2 <= (self.beam_width or 2) <= _MOST_VOTERS:
            raise self.fail("beam_width", f"2 to {_MOST_VOTERS} where the search is 'consensus'")
        for kind, names in _ONLY.items():
            for name in names:
                if kind != self.kind and name in self.changed():
                    raise self.fail(name, f"left out unless the search is '{kind}'")
        for name in ("never", "must"):
            if not all(word.split() for word in getattr(self, name)):
                raise self.fail(name, "words, none of them empty")

    def changed(self) -> dict[str, Any]:
        """Return the options that are not as they are by themselves."""
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }

    def _where(self, name: str) -> str:
        return f"Serving option {name}"


class Plan(NamedTuple):
    """What the options come to for one model.

    Attributes:
        options: With every number that was left open.
        width: Captions kept; 1 unless the search is beam search or consensus.
        steps: Most tokens of a caption.
        never: Words that no caption may hold, as token ids.
        must: Words that every caption must hold, as token ids.
    """

    options: SearchOptions
    width: int
    steps: int
    never: tuple[Word, ...]
    must: tuple[Word, ...]

    def described(self) -> dict[str, Any]:
        """Return the options as a report has them."""
        values = self.options.to_dict()
        return {name: values[name] for name in values if name in _ALWAYS or name in self.options.changed()}


def plan_search(
    options: SearchOptions, token_ids: Mapping[str, Sequence[int]], *, vocab_size: int, max_length: int
) -> Plan:
    """Fit the options to a model.

    Args:
        options: The options.
        token_ids: The ids of every word in `never` and `must`.
        vocab_size: V, special tokens included.
        max_length: Most tokens the model can say.

    Raises:
        ConfigError: If they do not fit it.
    """
    from zoo.tasks._constraints import transitions

    if options.max_length is not None and options.max_length > max_length:
        raise options.fail("max_length", f"1 to {max_length}")
    steps = options.max_length or max_length
    never, must = (_ids(options, name, token_ids, vocab_size) for name in ("never", "must"))
    alone = {word for word in never if len(word) == 1}
    words = vocab_size - len(SPECIAL) - len(alone)
    if len(never) > _MOST_NEVER or not words:
        raise options.fail("never", f"at most {_MOST_NEVER} words that leave some of the vocabulary")
    width = options.beam_width or _BEAMS.get(options.kind, 1)
    if width > words:
        if options.beam_width is not None:
            raise ConfigError(f"Serving option beam_width is {width}; the vocabulary has fewer words.")
        width = words
    tokens = sum(map(len, must))
    if tokens > steps:
        raise options.fail("must", f"words of together at most {steps} tokens, which is max_length")
    if len(must) > _MOST_MUST or tokens > _MOST_STATES or len(transitions(must, vocab_size)) > _MOST_STATES:
        raise options.fail("must", f"at most {_MOST_MUST} words, of few tokens (up to {_MOST_STATES} states)")
    if any(_holds(word, part) for word in must for part in never):
        raise options.fail("must", "words that never does not keep out")
    seed = (options.seed or 0) if options.kind == "sample" else None
    return Plan(options.replace(beam_width=width, max_length=steps, seed=seed), width, steps, never, must)


def _ids(
    options: SearchOptions, name: str, token_ids: Mapping[str, Sequence[int]], vocab_size: int
) -> tuple[Word, ...]:
    found = {}
    for word in getattr(options, name):
        ids = tuple(int(token) for token in token_ids.get(word, ()))
        if not ids or not all(len(SPECIAL) <= token < vocab_size for token in ids):
            raise ConfigError(
                f"Serving option {name} has the word '{word}' without its tokens; use Run.serving, or give token_ids."
            )
        found[ids] = word
    return tuple(found)


def _holds(word: Word, part: Word) -> bool:
    return any(word[i : i + len(part)] == part for i in range(len(word) - len(part) + 1))


def words_to_ids(words: Iterable[str], preprocessor: CaptionPreprocessor) -> dict[str, Word]:
    """Return the token ids of words.

    Raises:
        ConfigError: If the vocabulary does not hold one; the nearest are named.
    """
    found = {}
    for word in words:
        ids = tuple(preprocessor.encode(word))
        if not ids or UNKNOWN in ids:
            known = {token.replace(WORD_SIGN, "") for token in preprocessor.tokens[len(SPECIAL) :]}
            near = difflib.get_close_matches(word, sorted(known), n=3, cutoff=0.6)
            hint = f" Did you mean {' or '.join(near)}?" if near else " Leave it out."
            raise ConfigError(f"The word '{word}' is not in the vocabulary of this captioner.{hint}")
        found[word] = ids
    return found
