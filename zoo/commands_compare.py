"""The command `zoo compare`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from zoo import display


@dataclass(frozen=True)
class Compare:
    """Put runs of one task side by side: what differs, how training went, what was measured, who answers better."""

    runs: Positional[tuple[Path, ...]]
    """Run folders, two or more; those still training too."""
    split: tuple[str, ...] = ()
    """Compare the answers that 'zoo evaluate' stored with the first run's: a split, or an evaluation by its name
    (valid-beam_width=3), for all runs or one for each."""
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Picture of the learning curves to write, such as compare.png."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Print the table, and draw the picture if one is asked for."""
        from zoo.compare import answers_table, compare_runs, draw_curves, table

        report = compare_runs(self.runs, self.split)
        if self.out is not None:
            draw_curves(report, self.out)
        if self.json:
            display.record(report, as_json=True)
            return
        display.rows(table(report), as_json=False, empty="")
        if "answers" in report:
            names = ", ".join(dict.fromkeys(report["answers"]["evaluations"]))
            print(f"Answers to {names}: values, and differences with 95% intervals of a paired bootstrap")
            display.rows(answers_table(report), as_json=False, empty="")
        if self.out is not None:
            print(f"Wrote {self.out}")
