// Pictures to pixels of the model's size, and tokens back to a caption (docs/preprocess.md, "Pictures").

import { ModelFileError } from "./errors.js";

const SPECIAL = ["<pad>", "<start>", "<end>", "<unk>"];
const SPACE = "\u2581";
const UNSPACED_LANGUAGES = ["zh", "ja", "th"];

/** The image size and the vocabulary of a captioning model. */
export class CaptionPreprocessor {
  /**
   * @param {object} settings `preprocessor.json`.
   * @param {string[]} vocabulary Token of every id.
   */
  constructor(settings, vocabulary) {
    const { height, width } = settings.image ?? {};
    const sides = [height, width].every((side) => Number.isInteger(side) && side >= 1 && side <= 4096);
    if (settings.format_version !== 1 || !sides || SPECIAL.some((token, i) => vocabulary[i] !== token)) {
      throw new ModelFileError("The picture settings of this model are damaged or newer than this page.");
    }
    Object.assign(this, { vocabulary, size: [height, width], language: settings.language ?? "" });
  }

  /** The serving input of a picture of the model's size: `image`, uint8 (1, height, width, 3). */
  request(pixels) {
    return { image: { data: pixels, shape: [1, ...this.size, 3] } };
  }

  /**
   * The caption, and where the model looked for each word of it.
   *
   * @returns {{text: string, score: number, grid: [number, number], words: {text: string, map: Float32Array}[]}}
   *   Maps are rows x columns of `grid`, each with the sum 1.
   */
  answer(request, outputs) {
    const [, steps, rows, columns] = outputs.attention.shape;
    const length = outputs.length.data[0];
    const score = outputs.score.data[0];
    if (!(length >= 1 && length <= steps && outputs.tokens.data.length === steps) || !Number.isFinite(score)) {
      throw new ModelFileError("The model gave no caption; reload the page, or export the model again.");
    }
    const words = [];
    outputs.tokens.data.subarray(0, length).forEach((id, step) => {
      if (!(id >= 0 && id < this.vocabulary.length)) {
        throw new ModelFileError("The model gave a token outside its vocabulary; export it again.");
      }
      if (id < SPECIAL.length) return;
      const piece = this.vocabulary[id];
      const map = outputs.attention.data.subarray(step * rows * columns, (step + 1) * rows * columns);
      // A token that begins a word carries a mark; in languages without spaces each token is shown by itself.
      const begins = piece.startsWith(SPACE) || UNSPACED_LANGUAGES.includes(this.language);
      if (begins || !words.length) words.push({ text: "", maps: [] });
      words.at(-1).text += piece;
      words.at(-1).maps.push(map);
    });
    const text = words.map((word) => word.text).join("").replaceAll(SPACE, " ").trim();
    return {
      text,
      score,
      grid: [rows, columns],
      words: words.map((word) => ({ text: word.text.replaceAll(SPACE, " ").trim(), map: mean(word.maps) })),
    };
  }
}

function mean(maps) {
  return maps[0].map((_, i) => maps.reduce((sum, map) => sum + map[i], 0) / maps.length);
}
