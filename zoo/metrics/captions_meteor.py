"""METEOR (Denkowski and Lavie 2014), by the Java program that pycocoevalcap brings.

It aligns words by form, stem, synonym and paraphrase, and knows English. It needs Java, and for its tables of
paraphrases some seconds and up to 2 GB of memory at every start; so nothing computes it unless it is asked for.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from zoo.errors import ZooError, require
from zoo.metrics.captions import check_captions, tokenize_caption

_JAR = "meteor-1.5.jar"
_SECONDS = 900.0


def meteor(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    language: str = "en",
    *,
    java: str = "java",
    seconds: float = _SECONDS,
) -> float:
    """Score a set of captions; equal to pycocoevalcap's `Meteor` on the tokens of `tokenize_caption`.

    Args:
        hypotheses: N captions to judge.
        references: For each, one or more true captions.
        language: Two-letter code; English alone is known.
        java: The program to run.
        seconds: Most time it may take.

    Returns:
        METEOR of the set, 0 to 1.

    Raises:
        DataError: If the lengths differ, there is no example or an example has no reference.
        MissingExtraError: If pycocoevalcap is not installed.
        ZooError: If the language is another, Java is not installed, or the program fails or takes too long. It has
            ended in every case.
    """
    check_captions(hypotheses, references)
    if language != "en":
        said = f"'{language}'" if language else "not stated"
        raise ZooError(f"METEOR knows English only, and the language of these captions is {said}.")
    program = shutil.which(java)
    if program is None:
        raise ZooError(f"METEOR needs Java, and there is no program '{java}'; install a Java runtime.")
    module = require("pycocoevalcap.meteor.meteor", extra="eval", purpose="The METEOR metric")
    jar = Path(str(module.__file__)).with_name(_JAR)
    command = [program, "-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    with _conversation(command, seconds) as ask:
        pairs = zip(hypotheses, references, strict=True)
        counts = [ask(" ||| ".join(["SCORE", *map(_words, refs), _words(text)]), 1) for text, refs in pairs]
        return float(ask(" ||| ".join(["EVAL", *counts]), len(counts) + 1))  # the last is that of the set


def _words(text: str) -> str:
    return " ".join(tokenize_caption(text))


@contextlib.contextmanager
def _conversation(command: Sequence[str], seconds: float) -> Iterator[Callable[[str, int], str]]:
    """Start a program that answers lines with lines; on leaving it is stopped and waited for.

    Yields:
        A function that writes a line, reads as many as asked for and returns the last. Every line is answered before
        the next is written, so no pipe fills up.
    """
    process = timer = None
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
        )
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        assert process.stdin is not None and process.stdout is not None
        write, read = process.stdin, process.stdout

        def ask(line: str, answers: int) -> str:
            write.write(line + "\n")
            write.flush()
            lines = [read.readline() for _ in range(answers)]
            if not lines[-1]:
                raise EOFError
            return lines[-1].strip()

        yield ask
    except (OSError, EOFError, ValueError) as error:
        raise ZooError(
            f"METEOR's Java program failed, or took over {seconds:g} s; try it: {' '.join(command[:4])} - -"
        ) from error
    finally:
        if timer is not None:
            timer.cancel()
        if process is not None:
            process.kill()
            process.communicate()
