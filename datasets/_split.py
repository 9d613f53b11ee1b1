"""Splitting that depends on nothing but names and a seed.

The place of an item is the SHA-256 of the seed and its name, so that adding an item moves no other one and no library's
random generator is involved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_FEW = 5


class Rows(Sequence[T], Generic[T]):
    """A split held in memory; one kind of `Source`."""

    def __init__(self, items: Iterable[T]) -> None:
        """Keep the items."""
        self._items = tuple(items)

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._items)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        """Return one record; records are shared, so copy before changing one."""
        return self._items[index]


def fraction(seed: int, key: str) -> float:
    """Return the place of `key` under `seed`: uniform in [0, 1)."""
    digest = hashlib.sha256(f"{seed}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)


def shuffled(keys: Iterable[str], seed: int, *, purpose: str = "order") -> list[str]:
    """Return `keys` in the order of their places; orders for different purposes are unrelated."""
    return sorted(keys, key=lambda key: (fraction(seed, f"{purpose}\0{key}"), key))


def portions(keys: Iterable[str], seed: int, shares: Mapping[str, float]) -> dict[str, list[str]]:
    """Deal `keys` out to named portions.

    Args:
        keys: Distinct names.
        seed: Which of the possible orders.
        shares: Portion -> share of the keys; what is left over goes to "train". Rounded to whole keys, up or down by
            chance if there are few, so that many small strata do not all lose the same portion.

    Returns:
        Portion -> its keys, disjoint, together all of them; "train" always.
    """
    order = shuffled(keys, seed, purpose="split")
    result: dict[str, list[str]] = {}
    start = 0
    for name, share in shares.items():
        exact = share * len(order)
        count = round(exact) if exact >= _FEW else int(exact + fraction(seed, f"{name}\0{order[0]}" if order else name))
        stop = min(len(order), start + count)
        result[name] = order[start:stop]
        start = stop
    result["train"] = order[start:]
    return result


class Groups(Generic[K]):
    """Disjoint sets: items that must stay together."""

    def __init__(self) -> None:
        """Start with no items."""
        self._parent: dict[K, K] = {}

    def find(self, item: K) -> K:
        """Return the representative of an item's set; an unknown item is a set of its own."""
        root = item
        while (parent := self._parent.setdefault(root, root)) != root:
            root = parent
        while self._parent[item] != root:
            self._parent[item], item = root, self._parent[item]
        return root

    def join(self, first: K, second: K) -> None:
        """Put two sets together; the representative of the first stays."""
        self._parent[self.find(second)] = self.find(first)
