from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from zoo.errors import ConfigError
from zoo.models.caption_attn import CaptionAttn
from zoo.preprocess.captioning import CaptionPreprocessor
from zoo.run import Run
from zoo.tasks._constraints import transitions
from zoo.tasks._search_options import SearchOptions, plan_search, words_to_ids

IDS = {"cat": (4,), "dog": (5,), "tennis court": (6, 7), "court": (7,), "a b c d e": (8, 9, 10, 11, 12)}


def plan(**options: Any) -> Any:
    return plan_search(SearchOptions.of(options), IDS, vocab_size=20, max_length=12)


@pytest.mark.parametrize(
    ("options", "kind", "width"),
    [
        ({}, "greedy", 1),
        ({"beam_width": 1}, "greedy", 1),
        ({"beam_width": 4}, "beam", 4),
        ({"search": "beam"}, "beam", 3),
        ({"search": "beam", "beam_width": 1}, "beam", 1),
        ({"must": ["cat"]}, "beam", 3),
        ({"search": "consensus"}, "consensus", 16),
        ({"search": "consensus", "beam_width": 8}, "consensus", 8),
        ({"search": "sample", "top_k": 5}, "sample", 1),
        ({"never": list(IDS), "no_repeat_ngram": 2}, "greedy", 1),
    ],
)
def test_the_search_follows_from_the_options(options: dict[str, Any], kind: str, width: int) -> None:
    found = plan(**options)
    assert (found.options.kind, found.options.beam_width, found.options.max_length) == (kind, width, 12)
    described = found.described()
    assert {"beam_width": width, "length_penalty": 1.0, "max_length": 12}.items() <= described.items()
    assert set(described) <= {"beam_width", "length_penalty", "max_length", "seed", *options}


def test_words_become_ids() -> None:
    found = plan(must="tennis court", never=("cat", "dog", "cat"), max_length=5)
    assert found.must == ((6, 7),) and found.never == ((4,), (5,))
    assert found.described()["never"] == ["cat", "dog", "cat"] and found.options.max_length == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beams": 3}, "Captioning has no serving option 'beams'; it has search, beam_width"),
        (
            {"search": "best"},
            "Serving option search is 'best'; it must be one of 'greedy', 'beam', 'consensus', 'sample'",
        ),
        ({"search": "greedy", "beam_width": 3}, "beam_width is 3; it must be left out, or 1, where .* 'greedy'"),
        ({"search": "sample", "beam_width": 3}, "beam_width is 3"),
        (
            {"search": "consensus", "beam_width": 1},
            "beam_width is 1; it must be 2 to 32 where the search is 'consensus'",
        ),
        ({"search": "consensus", "beam_width": 33}, "beam_width is 33; it must be 2 to 32"),
        ({"search": "consensus", "must": ("cat",)}, "must is .* it must be left out unless the search is 'beam'"),
        ({"search": "consensus", "length_penalty": 0.5}, "length_penalty is 0.5; it must be left out unless"),
        ({"search": "sample", "must": ("cat",)}, "must is .* it must be left out unless the search is 'beam'"),
        ({"temperature": 0.5}, "temperature is 0.5; it must be left out unless the search is 'sample'"),
        ({"beam_width": 3, "seed": 0}, "seed is 0; it must be left out"),
        ({"search": "sample", "temperature": 0.0}, "temperature is 0.0; it must be 0.01 to 100.0"),
        ({"search": "sample", "temperature": float("nan")}, "temperature is nan"),
        ({"search": "sample", "top_p": 0.0}, "top_p"),
        ({"search": "sample", "top_k": -1}, "top_k"),
        ({"search": "sample", "seed": 2**31}, "seed"),
        ({"no_repeat_ngram": 2.5}, "no_repeat_ngram is 2.5; it must be a whole number"),
        ({"max_length": 13}, "max_length is 13; it must be 1 to 12"),
        ({"beam_width": 17}, "fewer words"),
        ({"never": ("cat", "dog"), "beam_width": 15}, "fewer words"),
        ({"never": (" ",)}, "never is .* it must be words, none of them empty"),
        ({"never": ("bird",)}, "never has the word 'bird' without its tokens"),
        ({"must": ("cat",), "never": ("cat",)}, "must is .* it must be words that never does not keep out"),
        ({"must": ("tennis court",), "never": ("court",)}, "never does not keep out"),
        ({"must": ("a b c d e",), "max_length": 4}, "together at most 4 tokens"),
        ({"must": ("cat", "dog", "tennis court", "court", "a b c d e")}, "at most 4 words"),
        ({"must": ("tennis court", "a b c d e", "dog")}, "up to 16 states"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(**options)


def test_never_leaves_something_to_say() -> None:
    options = SearchOptions.of({"never": ("cat", "dog")})
    with pytest.raises(ConfigError, match="leave some of the vocabulary"):
        plan_search(options, IDS, vocab_size=6, max_length=12)
    assert plan_search(SearchOptions.of({"search": "beam"}), IDS, vocab_size=6, max_length=12).options.beam_width == 2


def test_words_of_the_vocabulary() -> None:
    fitted = CaptionPreprocessor.fit(
        ["a tennis court", "many planes"], image_size=(4, 4), vocab_size=20, max_length=9, unit="words"
    )
    court = fitted.encode("court")[0]
    assert words_to_ids(["court", "tennis court"], fitted) == {
        "court": (court,),
        "tennis court": (*fitted.encode("tennis"), court),
    }
    with pytest.raises(ConfigError, match=r"'plane' is not in the vocabulary .* Did you mean planes\?"):
        words_to_ids(["plane"], fitted)
    with pytest.raises(ConfigError, match="'xyz' is not in the vocabulary of this captioner. Leave it out."):
        words_to_ids(["xyz"], fitted)


def test_a_run_says_what_must_be_said_and_never_what_must_not() -> None:
    keras.utils.set_random_seed(0)
    run = Run.untrained("caption_attn", **CaptionAttn.tiny().to_dict())
    picture = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    plain: Any = run.predict(picture)
    said = plain.text.split()[0]
    other: Any = run.predict(picture, never=[said])
    assert said not in other.text.split() and other.text
    both: Any = run.predict(picture, never=(said,), must=("word9", "word11 word12"), beam_width=2)
    assert "word9" in both.text.split() and "word11 word12" in both.text and said not in both.text.split()
    drawn: list[Any] = [run.predict(picture, search="sample", seed=seed) for seed in (1, 1, 2)]
    assert drawn[0].tokens == drawn[1].tokens != drawn[2].tokens and drawn[0].score == drawn[1].score
    with pytest.raises(ConfigError, match="'wordy' is not in the vocabulary"):
        run.predict(picture, never="wordy")


@pytest.mark.parametrize("seed", range(5))
def test_the_automaton_knows_what_was_said(seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = {tuple(rng.integers(4, 7, rng.integers(1, 4)).tolist()) for _ in range(3)}
    table = transitions(tuple(words), 8)
    assert table.shape[1] == 8 and table.dtype == np.int32
    for _ in range(200):
        state, said = 0, ()
        for token in rng.integers(4, 8, 12).tolist():
            said, state = (*said, token), table[state, token]
            missing = [word for word in words if not any(said[i : i + len(word)] == word for i in range(len(said)))]
            assert (state == len(table) - 1) == (not missing)
            assert (table[state, 2] == -1) == bool(missing)  # the end


def test_states_of_words() -> None:
    assert transitions((), 8).tolist() == [[0] * 8]
    assert len(transitions(((4,),), 8)) == 2 and len(transitions(((4,), (5,)), 8)) == 4
    assert len(transitions(((4, 5),), 8)) == 3 and len(transitions(((4, 5), (4, 6)), 8)) == 2 + 2 + 2 + 1
