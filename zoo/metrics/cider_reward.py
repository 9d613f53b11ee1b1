"""CIDEr-D of token ids, fast enough to be a reward in training.

Self-critical training (Rennie et al. 2017, arXiv:1612.00563, section 4) asks for the CIDEr-D (Vedantam et al. 2015,
arXiv:1411.5726, section 6) of every sampled caption at every step. Here all that depends on the references alone is
counted once, and a batch is scored by sorted look-ups, without a loop over captions. The formulas and the scale, 0 to
10, are those of pycocoevalcap's `Cider`; its words are token ids here.

For a caption h and a reference r of the same picture, where h(n) and r(n) are the weights tf * log(N / df) of their
n-grams:

    sim_n(h, r) = sum(min(h(n), r(n)) * r(n)) / (|h(n)| |r(n)|) * exp(-(l(h) - l(r))^2 / (2 sigma^2)),  sigma = 6
    CIDEr-D(h)  = 10 * mean over n = 1 to 4 and over the references of sim_n(h, r)

N is the number of pictures, df the number of those with that n-gram in a reference (1 where there is none), and l the
number of bigrams.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np

from zoo.errors import DataError
from zoo.preprocess.captioning import END, PADDING, UNKNOWN, CaptionPreprocessor

_ORDERS = range(4)
_SIGMA = 6.0
_UNKNOWN_FROM = 1 << 31
"""The ids of single unknown words; those of a vocabulary are below, and all are below 2^32."""


class CiderReward:
    """Scores captions, given as token ids, against the references of the training pictures.

    Every `UNKNOWN` is a word of its own: it counts in lengths and norms and equals nothing, so that naming the unknown
    is never rewarded.

    Args:
        references: For each picture one or more references: token ids without start and end, possibly none.
        counts: How often each of these references was given, at least 1; once when not given. A reference given k times
            weighs as much as k.
        count_end: Whether the end is a word, as in the usual self-critical training, so that a caption which breaks off
            is worth less than one which ends where the references do.
        max_length: Most tokens of a caption; longer references are cut there, and have no end. None for any length.

    Raises:
        DataError: If there is no picture, a picture has no reference, the counts do not fit, or a reference holds
            padding, an end or an impossible id.
    """

    def __init__(
        self,
        references: Sequence[Sequence[Sequence[int]]],
        counts: Sequence[Sequence[int]] | None = None,
        *,
        count_end: bool = True,
        max_length: int | None = None,
    ) -> None:
        """Count n-grams, weights and norms of all references."""
        _check(references, counts)
        self.count_end = count_end
        sizes = np.array([len(refs) for refs in references])
        owner = np.repeat(np.arange(len(sizes)), sizes)
        given = np.ones(len(owner)) if counts is None else np.array([c for row in counts for c in row], np.float64)
        self._share = given / np.bincount(owner, given)[owner]
        self._first = np.cumsum([0, *sizes])
        end = [END] if count_end else []
        rows = [[*reference, *end][:max_length] for refs in references for reference in refs]
        lengths = np.array([len(row) for row in rows])
        tokens = np.zeros((len(rows), max(1, lengths.max())), np.int64)
        tokens[np.arange(tokens.shape[1]) < lengths[:, None]] = [token for row in rows for token in row]
        self._bigrams = np.maximum(lengths - 1, 0)
        tokens = _unknown_apart(tokens, _UNKNOWN_FROM)
        self._fresh = max(_UNKNOWN_FROM, int(tokens.max()) + 1)
        self._rarest = float(np.log(len(sizes)))
        self._levels: list[_Level] = []
        prefix = np.zeros_like(tokens)
        for order in _ORDERS:
            where, keys = _ngrams(prefix, tokens, lengths, order)
            table, ids = np.unique(keys, return_inverse=True)
            prefix[where] = ids
            sentence, ids, count = _counted(where[0], ids, len(table))
            documents = np.unique(owner[sentence] * np.int64(len(table)) + ids)
            frequency = np.bincount(documents % max(len(table), 1), minlength=len(table))
            self._levels.append(_Level(table, self._rarest - np.log(frequency), sentence, ids, count, len(rows)))

    @classmethod
    def of_captions(
        cls, captions: Iterable[Sequence[str]], preprocessor: CaptionPreprocessor, *, count_end: bool = True
    ) -> Self:
        """Encode the captions of each training picture; what is equal after that is held once, with its count.

        Captions longer than the model can write are cut as in training: to `max_length` tokens, without an end.

        Raises:
            DataError: As in the constructor.
        """
        longest = preprocessor.max_length
        found = [Counter(tuple(preprocessor.encode(text)[:longest]) for text in texts) for texts in captions]
        given = [list(c.values()) for c in found]
        return cls([list(c) for c in found], given, count_end=count_end, max_length=longest)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._first) - 1

    def reward(self, images: np.ndarray, captions: np.ndarray) -> np.ndarray:
        """Score captions.

        Args:
            images: int (N,), the positions of their pictures in `references`; repeated for several captions of one.
            captions: int (N, T), token ids without start. A caption ends before the first `END` or `PADDING`; without
                either it was broken off and has no end.

        Returns:
            float32 (N,), 0 to 10. An empty caption scores 0.

        Raises:
            DataError: If the shapes do not fit, a picture does not exist or an id is impossible.
        """
        images, tokens = np.asarray(images, np.int64), np.array(captions, np.int64)
        if images.ndim != 1 or tokens.ndim != 2 or len(images) != len(tokens):
            raise DataError(
                f"The reward got pictures {images.shape} and captions {tokens.shape}; give (N,) and (N, T)."
            )
        if not tokens.size:
            return np.zeros(len(images), np.float32)
        if not (0 <= images.min() <= images.max() < len(self) and 0 <= tokens.min() <= tokens.max() < _UNKNOWN_FROM):
            raise DataError(f"The reward knows pictures 0 to {len(self) - 1} and token ids from 0; others were given.")
        stops = (tokens == END) | (tokens == PADDING)
        lengths = np.where(stops.any(1), stops.argmax(1), tokens.shape[1])
        if self.count_end:
            at_end = np.minimum(lengths, tokens.shape[1] - 1)
            lengths = lengths + (tokens[np.arange(len(tokens)), at_end] == END)
        tokens = _unknown_apart(tokens, self._fresh)
        sizes = self._first[images + 1] - self._first[images]
        caption = np.repeat(np.arange(len(images)), sizes)
        reference = _ranges(self._first[images], sizes)
        total = np.zeros(len(caption))
        prefix = np.zeros_like(tokens)
        for order, level in zip(_ORDERS, self._levels, strict=True):
            where, keys = _ngrams(prefix, tokens, lengths, order)
            ids = level.ids_of(keys)
            prefix[where] = ids
            total += level.similarity(where[0], ids, caption, reference, len(images), self._rarest)
        delta = np.maximum(lengths - 1, 0)[caption] - self._bigrams[reference]
        total *= np.exp(-(delta**2) / (2.0 * _SIGMA**2)) * self._share[reference]
        scores = np.bincount(caption, total, len(images)) * (10.0 / len(_ORDERS))
        return scores.astype(np.float32)


class _Level:
    """The n-grams of one n in all references, in compressed rows.

    Attributes:
        table: int64 (V,), the keys of all different n-grams, ascending; the position of a key is its id.
        idf: float64 (V,), log(N / df).
        starts: int64 (R + 1,), where each reference's entries begin.
        ids: int32 (E,), the n-grams of one reference after another, each once.
        counts: Unsigned (E,), how often the reference has them.
        norm: float64 (R,), the length of each reference's vector of weights.
    """

    def __init__(
        self, table: np.ndarray, idf: np.ndarray, rows: np.ndarray, ids: np.ndarray, counts: np.ndarray, size: int
    ) -> None:
        self.table, self.idf = table, idf
        self.starts = np.searchsorted(rows, np.arange(size + 1))
        self.ids = ids.astype(np.int32)
        self.counts = counts.astype(np.min_scalar_type(int(counts.max(initial=1))))
        self.norm = np.sqrt(np.bincount(rows, (counts * idf[ids]) ** 2, size))

    def ids_of(self, keys: np.ndarray) -> np.ndarray:
        """Return the ids of n-grams; those in no reference are numbered from V on, equal ones alike."""
        ids = np.searchsorted(self.table, keys)
        unseen = ids == len(self.table)
        unseen[~unseen] = self.table[ids[~unseen]] != keys[~unseen]
        ids[unseen] = len(self.table) + np.unique(keys[unseen], return_inverse=True)[1]
        return ids

    def similarity(
        self, rows: np.ndarray, ids: np.ndarray, caption: np.ndarray, reference: np.ndarray, size: int, rarest: float
    ) -> np.ndarray:
        """Return the clipped cosine, float64 (P,), of each pair of a caption and a reference.

        Args:
            rows: int (K,), which caption has the n-gram; ascending.
            ids: int (K,), the n-gram's id.
            caption: int (P,), a pair's caption.
            reference: int (P,), a pair's reference.
            size: Number of captions.
            rarest: Weight of an n-gram in no reference.
        """
        width = np.int64(max(len(self.table), int(ids.max(initial=0)) + 1))
        rows, ids, counts = _counted(rows, ids, int(width))
        seen = ids < len(self.table)
        weights = np.full(len(ids), rarest)
        weights[seen] = self.idf[ids[seen]]
        weights *= counts
        norm = np.sqrt(np.bincount(rows, weights**2, size))
        sizes = self.starts[reference + 1] - self.starts[reference]
        entries = _ranges(self.starts[reference], sizes)
        pair = np.repeat(np.arange(len(reference)), sizes)
        keys, wanted = rows * width + ids, caption[pair] * width + self.ids[entries]
        place = np.searchsorted(keys, wanted)
        found = np.flatnonzero(np.append(keys, -1)[place] == wanted)
        entries = entries[found]
        theirs = self.counts[entries] * self.idf[self.ids[entries]]
        products = np.minimum(weights[place[found]], theirs) * theirs
        norms = norm[caption] * self.norm[reference]
        return np.bincount(pair[found], products, len(reference)) / np.where(norms > 0.0, norms, 1.0)


def _check(references: Sequence[Sequence[Sequence[int]]], counts: Sequence[Sequence[int]] | None) -> None:
    if not len(references):
        raise DataError("A CIDEr reward needs at least one picture with references.")
    if counts is not None and len(counts) != len(references):
        raise DataError(f"A CIDEr reward got references of {len(references)} pictures and counts of {len(counts)}.")
    for i, refs in enumerate(references):
        if not len(refs):
            raise DataError(f"A CIDEr reward: picture {i} has no reference; give it one or leave it out.")
        if counts is not None and (len(counts[i]) != len(refs) or min(counts[i]) < 1):
            raise DataError(f"A CIDEr reward: picture {i} needs a count of at least 1 for each reference.")
        if any(not PADDING < t < _UNKNOWN_FROM or t == END for reference in refs for t in reference):
            raise DataError(f"A CIDEr reward: picture {i} has a reference with padding, an end or an impossible id.")


def _unknown_apart(tokens: np.ndarray, fresh: int) -> np.ndarray:
    """Give every `UNKNOWN` an id of its own, from `fresh` on."""
    tokens = tokens.copy()
    unknown = np.flatnonzero(tokens == UNKNOWN)
    tokens.flat[unknown] = fresh + np.arange(len(unknown))
    return tokens


def _ngrams(
    prefix: np.ndarray, tokens: np.ndarray, lengths: np.ndarray, order: int
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Return where n-grams begin, n = order + 1, row by row, and their keys.

    Args:
        prefix: int64 (R, L), ids of the n-grams one shorter that begin there; all equal for order 0.
        tokens: int64 (R, L), ids below 2^32.
        lengths: int (R,), tokens of each row.
        order: n - 1.
    """
    width = max(tokens.shape[1] - order, 0)
    rows, starts = np.nonzero(np.arange(order, order + width) < lengths[:, None])
    return (rows, starts), (prefix[rows, starts] << 32) | tokens[rows, starts + order]


def _counted(rows: np.ndarray, ids: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each different (row, id) with its count, ordered by row, then id; ids are below `width`."""
    keys, counts = np.unique(rows * np.int64(width) + ids, return_counts=True)
    rows, ids = np.divmod(keys, max(width, 1))
    return rows, ids, counts


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return `starts[i], starts[i] + 1, ...`, `sizes[i]` of them, one i after another."""
    ends = np.cumsum(sizes)
    return np.repeat(starts - ends + sizes, sizes) + np.arange(ends[-1] if len(ends) else 0)
