"""Model cards of the weights that ship, written from their folders: every number is read, none is typed.

A card has what the weights do, their data, their metrics beside the baselines', every variant of the whole-task file,
limits, licence, and how to use them and make them again. Sentences on data and limits are those of the dataset's module
and of the recipe.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo import datasets
from zoo.errors import printable
from zoo.export.shipping import SHIPPED_VARIANT, about_data
from zoo.files import read_json
from zoo.references import read_manifest
from zoo.registry import architecture, find_recipe
from zoo.tasks import get_task

WIDTH = 120
_WHOLE_WORDS: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
_EXAMPLES = {
    "captioning": "picture.png",
    "image_classification": "picture.png",
    "text_classification": "'a text'",
    "forecasting": "prices.csv",
}


def model_card(folder: Path, timed: Mapping[str, Any] | None = None) -> str:
    """Return the card, in Markdown, of weights in a folder.

    Args:
        folder: A folder that `zoo.export.shipping.pack_run` wrote.
        timed: How fast its files are (`machine`, `timing`, `variants`), or None if that was not measured.

    Raises:
        ModelFileError: If the folder's manifest cannot be read.
        ZooError: If another file of it cannot.
    """
    manifest = read_manifest(folder)
    name, about = manifest["name"], manifest["about"]
    run, facts, metrics = (read_json(folder / file) for file in ("run.json", "card.json", "metrics.json"))
    cls = architecture(run["architecture"])
    recipe = find_recipe(cls.name, run["data"]["reference"])
    assert recipe is not None
    size = sum(item["length"] for item in manifest["files"].values())
    parts = [
        f"# {name}",
        _title(about),
        f"{_summary(cls)} Task: {get_task(cls.task).summary.rstrip('.')}.",
        f"Paper: {cls.paper}.",
        f"{facts['parameters']:,} parameters. The folder has {_megabytes(size)}: float16 weights, what preprocessing "
        f"needs, and `model.tflite` ({_megabytes(manifest['files']['model.tflite']['length'])}), which does the whole "
        "task.",
        *_use(name, cls.task, about),
        *_data(run, facts),
        *_metrics(facts, metrics),
        *_variants(facts["variants"], facts["main_metric"], timed),
        "## Limits",
        "\n".join(textwrap.fill(f"- {line}", WIDTH, subsequent_indent="  ", **_WHOLE_WORDS) for line in recipe.limits),
        *_licence(run["licence"]),
        *_again(name, run, facts),
    ]
    return _page(parts)


def model_index(folders: Sequence[Path]) -> str:
    """Return the page that lists the cards."""
    rows = []
    for folder in folders:
        manifest = read_manifest(folder)
        name, about = manifest["name"], manifest["about"]
        rows.append(
            [
                f"[`{name}`]({name.replace('/', '-')}.md)",
                _title(about),
                f"{about['metric']} {_number(about['value'])} ({about['split']})",
                _megabytes(sum(item["length"] for item in manifest["files"].values())),
                about["licence"],
            ]
        )
    header = ["weights", "what", "main metric", "size", "data's licence"]
    return _page(
        [
            "# Weights that ship with the package",
            "`zoo predict NAME INPUT` answers with them at once; `zoo.load(NAME)` and `zoo.build(..., weights=...)` "
            "open them in Python. These pages are written by `tools/ship_weights.py` from the weights' folders.",
            _table(header, rows),
        ]
    )


def _page(parts: Sequence[str]) -> str:
    """Join paragraphs; long ones are wrapped, tables, lists of lines and code stay as they are."""
    wrapped = [
        part if "\n" in part or part.startswith(("#", "|")) else textwrap.fill(part, WIDTH, **_WHOLE_WORDS)
        for part in parts
    ]
    return "\n\n".join(wrapped) + "\n"


def _title(about: Mapping[str, Any]) -> str:
    language = f" ({about['language']})" if about["language"] else ""
    return f"{about['title'][:1].upper()}{about['title'][1:]}{language}."


def _summary(cls: Any) -> str:
    return str((cls.__doc__ or "").strip().split("\n")[0])


def _use(name: str, task: str, about: Mapping[str, Any]) -> list[str]:
    architecture_name, _, weights = name.partition("/")
    example = _EXAMPLES[task]
    return [
        "## Use",
        "```\n"
        "pip install 'attention-zoo[edge]'   # answers from model.tflite; [tf] with Keras\n"
        f"zoo predict {name} {example}\n"
        "```",
        "```python\n"
        f'run = zoo.load("{name}")   # predict, evaluate, export, explain\n'
        f'model = zoo.build("{architecture_name}", weights="{weights}")   # a keras.Model\n'
        "```",
    ]


def _data(run: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    task = architecture(run["architecture"]).task
    dataset = datasets.load(run["data"]["reference"], task=task, **run["data"]["options"])
    rows = [[split, f"{count['records']:,}", f"{count['examples']:,}"] for split, count in facts["splits"].items()]
    options = ", ".join(f"{key} {value}" for key, value in run["data"]["options"].items())
    return [
        "## Data",
        f"Dataset `{dataset.name}`, options: {options}. Source: {run['licence']['url']}",
        about_data(dataset),
        _table(["split", "records", "examples"], rows),
        "Weights, vocabulary and scales come from the training split alone; the validation split chose the best epoch "
        "and checked the files.",
    ]


def _metrics(facts: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    main = facts["main_metric"]
    better = "higher" if facts["higher_is_better"] else "lower"
    parts = [
        "## Metrics",
        f"Measured with the float16 weights of this folder, baselines on the same examples; ± is a standard error. The "
        f"main metric is `{main}`; {better} is better.",
    ]
    for split, result in metrics.items():
        columns = {"model": result["metrics"], **result["baselines"]}
        body = [
            [f"**{key}**" if key == main else key, *(_cell(column, key) for column in columns.values())]
            for key, value in result["metrics"].items()
            if _is_number(value) and not key.endswith("_se")
        ]
        exact = _number(facts["float32"][split])
        parts += [
            f"### {split}: {result['examples']:,} examples",
            _table(["metric", *columns], body),
            *_pairs(result["metrics"]),
            f"With the run's own float32 weights `{main}` is {exact}.",
        ]
    return parts


def _pairs(metrics: Mapping[str, Any]) -> list[str]:
    """Return a line on the metrics that are intervals."""
    found = {key: value for key, value in metrics.items() if isinstance(value, list) and len(value) == 2}
    lines = [
        f"{key}: {' to '.join(map(_number, value))}" for key, value in found.items() if all(map(_is_number, value))
    ]
    return ["; ".join(lines) + "."] if lines else []


def _variants(variants: Mapping[str, Any], main: str, timed: Mapping[str, Any] | None) -> list[str]:
    latency = timed["variants"] if timed else {}
    rows = []
    for row in variants["rows"]:
        one = (latency.get(row["quantize"]) or [{}])[0]
        rows.append(
            [
                f"**{row['quantize']}**" if row["quantize"] == SHIPPED_VARIANT else row["quantize"],
                _number(row["bytes"], ",d"),
                _number(row["metric"]),
                _number(row["drop"], "+.2%"),
                _number(row["same"], ",d"),
                *(_number(one.get(key), ".3g") for key in ("p50_ms", "p95_ms", "load_ms", "peak_memory_mb")),
                printable(row["refused"] or "yes").replace("|", "\\|"),
            ]
        )
    header = ["variant", "bytes", main, "drop", "same", "p50 ms", "p95 ms", "load ms", "peak MiB", "passes the gate"]
    parts = [
        "## Files",
        f"Every variant of the whole-task file on {variants['examples']:,} examples of the split "
        f'`{variants["split"]}`, where the float16 weights in Keras have {main} {_number(variants["metric"])}. "drop" '
        f'is relative to that (budget {variants["budget"]:.1%}), "same" counts equal answers. The one that ships is '
        "**bold**; `zoo export` writes the others.",
        _table(header, rows),
    ]
    if timed:
        timing = timed["timing"]
        parts.append(
            f"Time of an answer on {timed['machine']}, one thread: medians of {timing['rounds']} processes without "
            f"TensorFlow, {timing['runs']} answers each."
        )
    return parts


def _licence(licence: Mapping[str, Any]) -> list[str]:
    return [
        "## Licence and credit",
        f"The weights are part of attention-zoo, Apache-2.0. The data's terms: {licence['name']}. Keep this credit "
        "with the weights and the files made of them:",
        f"> {licence['credit']} {licence['url']}",
    ]


def _again(name: str, run: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{package} {version}" for package, version in run["versions"].items())
    return [
        "## Make it again",
        f"```\npip install 'attention-zoo[tf,demo]'\npython tools/ship_weights.py --only {name}\n```",
        f"trains with `{facts['command']}`, measures, and packs. The same seed on the same machine gives the same "
        f"bytes; these were made with {versions}.",
    ]


def _cell(metrics: Mapping[str, Any], key: str) -> str:
    value, error = metrics.get(key), metrics.get(f"{key}_se")
    if not _is_number(value):
        return ""
    return _number(value) + (f" ± {_number(error, '.2g')}" if _is_number(error) else "")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: float | None, form: str = ".4g") -> str:
    return "" if value is None else format(value, form)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
