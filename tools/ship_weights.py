"""Make the weights that ship with the package, by the recipes' own commands.

    python tools/ship_weights.py                                   # all: trains, measures, packs, writes the cards
    python tools/ship_weights.py --only text_attn/tweets
    python tools/ship_weights.py --only text_attn/tweets --run runs/text_attn-tweets-001
    python tools/ship_weights.py --only price_attn/stocks --quick --out trial      # a minute, to try the tool
    python tools/ship_weights.py --cards                           # the cards alone, from the folders that are there

The folders `zoo/shipped/<architecture>/<weights>/` depend on the run alone: packed twice they are equal byte by byte.
How fast the files answer differs every time, so it is kept beside the cards, in `docs/models/latency.json`.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
MOST_BYTES = 16_000_000
"""What all folders together may take."""


class Shipment(NamedTuple):
    """Weights that ship, and the recipe they come from.

    Attributes:
        architecture: Registered name.
        data: Name of the dataset.
        options: Options of the dataset.
        budget: Largest relative drop of the metric that 8-bit weights may show; a card says what it was.
    """

    architecture: str
    data: str
    options: dict[str, str] = {}
    budget: float = 0.01

    def command(self, *, quick: bool) -> list[str]:
        """Return the words after `zoo` that train them."""
        options = [word for key, value in self.options.items() for word in (f"--options.{key}", value)]
        return ["train", self.architecture, "--data", self.data, *options, *(["--quick"] if quick else [])]


SHIPMENTS = {
    "caption_attn/emoji-en": Shipment("caption_attn", "emoji", budget=0.03),
    "caption_attn/emoji-zh": Shipment("caption_attn", "emoji", {"language": "zh"}, budget=0.03),
    "price_attn/stocks": Shipment("price_attn", "stocks"),
    "text_attn/reviews_zh": Shipment("text_attn", "reviews_zh"),
    "text_attn/tweets": Shipment("text_attn", "tweets"),
}


def ship(name: str, out: Path, *, run: Path | None, quick: bool) -> None:
    """Train unless there is a run, pack it, and keep how fast its files are.

    Raises:
        subprocess.CalledProcessError: If training fails; its message is on standard error.
        ZooError: If the run cannot ship.
    """
    from zoo.export.shipping import pack_run
    from zoo.files import read_json, write_json
    from zoo.registry import find_recipe
    from zoo.run import new_folder
    from zoo.training.plan import make_plan

    shipment = SHIPMENTS[name]
    words = shipment.command(quick=quick)
    if run is None:
        run = new_folder(out / "runs", *name.split("/"))
        subprocess.run([sys.executable, "-P", "-m", "zoo", *words, "--out", str(run)], check=True)
    recipe = find_recipe(shipment.architecture, shipment.data)
    timed = pack_run(
        run,
        name,
        out / "zoo" / "shipped" / name,
        plan=make_plan(shipment.architecture, recipe, shipment.data, quick=quick, options=dict(shipment.options)),
        command=shlex.join(["zoo", *words]),
        budget=shipment.budget,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    path = out / "docs" / "models" / "latency.json"
    known = read_json(path) if path.exists() else {}
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    write_json(path, dict(sorted({**known, name: {"machine": machine, **timed}}.items())))


def write_cards(out: Path) -> None:
    """Write a card for every folder, and the index."""
    from zoo.export.card import model_card, model_index
    from zoo.files import read_json, write_text
    from zoo.references import MANIFEST

    folder = out / "docs" / "models"
    latency = read_json(folder / "latency.json")
    names = [name for name in SHIPMENTS if (out / "zoo" / "shipped" / name / MANIFEST).is_file()]
    for name in names:
        card = model_card(out / "zoo" / "shipped" / name, latency.get(name))
        write_text(folder / f"{name.replace('/', '-')}.md", card)
    write_text(folder / "README.md", model_index([out / "zoo" / "shipped" / name for name in names]))


def main() -> int:
    """Parse the command line, make what it asks for, and say what it takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=SHIPMENTS, metavar="NAME", help=", ".join(SHIPMENTS))
    parser.add_argument("--run", type=Path, help="pack this finished run instead of training; with one --only")
    parser.add_argument("--out", type=Path, default=ROOT, help="write below this folder instead of the repository")
    parser.add_argument("--quick", action="store_true", help="train by the quick recipe, to try the tool")
    parser.add_argument("--cards", action="store_true", help="write the cards alone")
    arguments = parser.parse_args()
    names = arguments.only or list(SHIPMENTS)
    if arguments.run is not None and len(names) != 1:
        parser.error("--run goes with one --only")
    if arguments.quick and arguments.out.resolve() == ROOT:
        parser.error("quick weights do not ship; give --out another folder")
    from zoo.backend import start_backend
    from zoo.errors import ZooError

    try:
        if not arguments.cards:
            start_backend()
            for name in names:
                ship(name, arguments.out, run=arguments.run, quick=arguments.quick)
        write_cards(arguments.out)
    except ZooError as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    return say_sizes(arguments.out)


def say_sizes(out: Path) -> int:
    """Print what every folder takes; 1 if all together take too much."""
    base = out / "zoo" / "shipped"
    sizes: dict[str, int] = {}
    for path in base.glob("*/[!.]*/**/*"):
        if path.is_file():
            name = "/".join(path.relative_to(base).parts[:2])
            sizes[name] = sizes.get(name, 0) + path.stat().st_size
    for name, size in sorted(sizes.items()):
        print(f"{name:24} {size:>12,} bytes")
    total = sum(sizes.values())
    print(f"{'together':24} {total:>12,} bytes of at most {MOST_BYTES:,}")
    return 0 if total <= MOST_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
