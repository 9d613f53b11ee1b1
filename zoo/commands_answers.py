"""What `zoo predict` does with a folder of pictures, and `zoo explain` with a split."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo import display
from zoo.errors import ConfigError, DataError
from zoo.explain.deletion import Deletion
from zoo.files import to_json
from zoo.results import Caption


def is_picture_folder(predictor: Any, value: str) -> bool:
    """Tell whether an input is a folder, and the model takes pictures (a text may have a folder's name)."""
    from zoo.explain.gallery import takes_pictures

    return takes_pictures(predictor.preprocessor) and os.path.isdir(value)  # a text may be no path at all


def answer_folder(
    predictor: Any,
    model: str,
    folder: str,
    *,
    html: Path | None,
    limit: int,
    as_json: bool,
    quiet: bool,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Answer every picture of a folder: a page, a table, or one JSON object a line.

    Args:
        predictor: A run or an open file.
        model: How it was called.
        folder: The folder; a picture counts as a folder of one.
        html: The page to write; None prints the answers.
        limit: Most pictures.
        as_json: Print JSON.
        quiet: Show no progress.
        options: Of `predict`.

    Raises:
        ConfigError: If the model does not take pictures, or the limit is below 1.
        DataError: If there is no picture, or none can be read.
    """
    from zoo.explain.gallery import Answered, answer_pictures, find_pictures, takes_pictures, write_gallery

    if not takes_pictures(predictor.preprocessor):
        raise ConfigError(f"'{model}' does not take pictures, so it makes no gallery; leave --html out.")
    if limit < 1:
        raise ConfigError(f"--limit is {limit}; it must be at least 1.")
    paths = find_pictures(folder)
    found, paths = len(paths), paths[:limit]
    note = "" if found == len(paths) else f"The first {len(paths)} of {found} pictures, by name."
    kept: list[Answered] = []
    with display.progress(quiet=quiet) as progress:
        for answer in answer_pictures(
            predictor, paths, thumbnails=html is not None, progress=progress, **(options or {})
        ):
            kept.append(answer)
            if as_json and html is None:
                print(to_json(_record(answer), indent=None), end="", flush=True)
    problems = [answer for answer in kept if answer.result is None]
    if len(problems) == len(kept):
        raise DataError(f"None of the {len(kept)} pictures in '{folder}' can be read; the first: {problems[0].problem}")
    if html is not None:
        called = f"{predictor.name} ({Path(model).name})" if Path(model).exists() else model
        write_gallery(html, kept, predictor.preprocessor, model=called, note=note)
        report: dict[str, Any] = {
            "html": str(html),
            "pictures": len(kept) - len(problems),
            "bytes": html.stat().st_size,
        }
        if problems or as_json:
            report["problems"] = [{"picture": answer.name, "problem": answer.problem} for answer in problems]
        display.record(report, as_json=as_json)
    elif not as_json:
        display.rows([_row(answer) for answer in kept], as_json=False, empty="")
    if note:
        print(f"{note} --limit takes more.", file=sys.stderr)


def explain_split(predictor: Any, model: str, split: str, *, limit: int, deletion: Deletion, as_json: bool) -> None:
    """Measure the attention of a split's captions by deletion, and print the table.

    Raises:
        ConfigError: If it is not a run, or one of another task, or the limit is below 1.
    """
    from zoo.explain.faithfulness import faithfulness_rows, measure_split
    from zoo.run import Run

    if not isinstance(predictor, Run):
        raise ConfigError(f"'{model}' is a file, which knows no dataset; give the run folder to explain a split.")
    if limit < 1:
        raise ConfigError(f"--limit is {limit}; it must be at least 1.")
    with display.progress(quiet=as_json) as progress:
        result = measure_split(predictor, split, limit=limit, deletion=deletion, progress=progress)
    if as_json:
        display.record(result, as_json=True)
        return
    height, width = result["grid"]
    what = (
        f"{result['words']} words of {result['pictures']} captions, {result['cells']} of {height * width} cells hidden"
    )
    print(f"{split}: {what}; by how much a word's log-probability falls:")
    display.rows(faithfulness_rows(result), as_json=False, empty="")


def _record(answer: Any) -> dict[str, Any]:
    if answer.result is None:
        return {"file": answer.name, "error": answer.problem}
    return {"file": answer.name, **answer.result.to_dict()}


def _row(answer: Any) -> dict[str, str]:
    if answer.result is None:
        return {"picture": answer.name, "answer": f"not read: {answer.problem}", "score": ""}
    if isinstance(answer.result, Caption):
        return {"picture": answer.name, "answer": answer.result.text, "score": f"{answer.result.score:.2f}"}
    return {"picture": answer.name, "answer": str(answer.result), "score": ""}
