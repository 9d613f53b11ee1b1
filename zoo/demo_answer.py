"""Caption held-out emoji from a `.tflite` in a process where TensorFlow cannot be imported.

    python -m zoo.demo_answer MODEL.tflite SHEET.png COUNT

The pictures are embedded in a package; nothing but numpy, Pillow, LiteRT and matplotlib is used.
"""

from __future__ import annotations

import sys

import numpy as np

from zoo.export._edge_worker import BLOCKED, Blocker


def main(model: str, sheet: str, count: int) -> None:
    """Caption `count` held-out pictures, print them beside their names, and draw them on a sheet."""
    sys.meta_path.insert(0, Blocker())
    from zoo import datasets
    from zoo.explain.captions import caption_sheet
    from zoo.export.runtime import Edge
    from zoo.results import Caption

    edge = Edge(model)
    data = datasets.load("emoji", task="captioning")
    records = [data.split("variants"), data.split("test")]
    items = []
    for source, share in zip(records, (2 * count // 3, count - 2 * count // 3), strict=True):
        for index in np.linspace(0, len(source) - 1, share).astype(int):
            record = source[int(index)]
            answer = edge.predict(record["image"])
            assert isinstance(answer, Caption)
            print(f"  {answer.text:<44} {'=' if answer.text in record['captions'] else '≠'} {record['captions'][0]}")
            items.append(
                {
                    "image": edge.preprocessor.request(record["image"])["image"][0],
                    "truth": record["captions"],
                    "caption": answer.text,
                    "attention": answer.attention,
                    "words": [token.replace("▁", " ").strip() or "␣" for token in answer.tokens],
                }
            )
    caption_sheet(items, sheet, columns=2, title="Captions from one .tflite file: new variants, then new emoji")
    loaded = [name for name in BLOCKED if name in sys.modules]
    print(f"  TensorFlow, Keras, JAX, PyTorch in this process: {', '.join(loaded) or 'none'}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
