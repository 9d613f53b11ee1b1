// Text to token ids, and probabilities back to an answer (docs/preprocess.md, "Text"; version 1 of its rules).

import { InputError, ModelFileError } from "./errors.js";

const PAD = 0;
const UNKNOWN = 1;
const SPECIAL = ["[PAD]", "[UNK]", "[MASK]", "[URL]"];
const ENTITIES = [
  ["&lt;", "<"],
  ["&gt;", ">"],
  ["&quot;", '"'],
  ["&#39;", "'"],
  ["&nbsp;", " "],
  ["&amp;", "&"],
];
const LONGEST_WORD = 64;
// What Python calls white space; JavaScript's \s is another set.
const LINK =
  /(?:https?:\/\/|www\.)[^\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/gu;
const REPEATS = /(.)\1{2,}/gsu;
const SPACE = /[\p{Z}\p{Cc}\p{Cn}\p{Co}\p{Cs}]/u;
const NOTHING = /[\p{Cf}\ufe00-\ufe0f]/u;
const HAN = /[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{323af}]/u;
const WORD = /[\p{L}\p{M}\p{N}]/u;

/** Cuts texts into the ids of a vocabulary. */
export class TextPreprocessor {
  /**
   * @param {object} settings `preprocessor.json`.
   * @param {string[]} vocabulary Token of every id.
   */
  constructor(settings, vocabulary) {
    const { format_version: version, rules, classes, max_length: maxLength, head } = settings;
    if (version !== 1 || rules !== 1) {
      throw new ModelFileError("The text rules of this model are newer than this page; make the site again.");
    }
    const numbers = Number.isInteger(maxLength) && Number.isInteger(head) && maxLength >= 1;
    const names = Array.isArray(classes) && classes.length > 1;
    if (!numbers || head < 0 || head > maxLength || !names || SPECIAL.some((token, i) => vocabulary[i] !== token)) {
      throw new ModelFileError("The text settings of this model are damaged; export it again.");
    }
    Object.assign(this, { vocabulary, classes, maxLength, head });
    this.ids = new Map(vocabulary.map((token, id) => [token, id]));
    this.longest = vocabulary.reduce((most, token) => Math.max(most, [...token].length), 1);
  }

  /** The serving input of a text: `tokens`, int32 (1, maxLength). */
  request(text) {
    if (typeof text !== "string") throw new InputError("A text must be a string; give one sentence or review.");
    let ids = splitWords(text, 16 * this.maxLength).flatMap((word) => this.pieces(word));
    if (ids.length > this.maxLength) {
      ids = [...ids.slice(0, this.head), ...ids.slice(ids.length - (this.maxLength - this.head))];
    }
    const data = new Int32Array(this.maxLength);
    data.set(ids.length ? ids : [UNKNOWN]);
    return { tokens: { data, shape: [1, this.maxLength] } };
  }

  /**
   * Name the classes; the weights of a word's pieces are added up.
   *
   * @returns {{label: string, probabilities: [string, number][], words: [string, number][]}}
   */
  answer(request, outputs) {
    const probabilities = [...outputs.probabilities.data];
    const weights = outputs.token_weights.data;
    if (probabilities.length !== this.classes.length || ![...probabilities, ...weights].every(Number.isFinite)) {
      throw new ModelFileError("The model gave no probabilities; reload the page, or export the model again.");
    }
    const words = [];
    request.tokens.data.forEach((id, i) => {
      if (id === PAD) return;
      const piece = this.vocabulary[id];
      if (piece.startsWith("##") && words.length) {
        words.at(-1)[0] += piece.slice(2);
        words.at(-1)[1] += weights[i];
      } else words.push([piece, weights[i]]);
    });
    const best = probabilities.indexOf(Math.max(...probabilities));
    const named = this.classes.map((name, i) => [name, probabilities[i]]);
    return { label: this.classes[best], probabilities: named, words };
  }

  /** The ids of one word, longest piece first. */
  pieces(word) {
    if (this.ids.has(word)) return [this.ids.get(word)];
    const characters = [...word];
    if (characters.length > LONGEST_WORD) return [UNKNOWN];
    const found = [];
    for (let start = 0; start < characters.length; ) {
      let end = Math.min(characters.length, start + this.longest);
      const prefix = start ? "##" : "";
      while (end > start && !this.ids.has(prefix + characters.slice(start, end).join(""))) end--;
      if (end === start) return [UNKNOWN];
      found.push(this.ids.get(prefix + characters.slice(start, end).join("")));
      start = end;
    }
    return found.length ? found : [UNKNOWN];
  }
}

/**
 * Split a text into normalised words.
 *
 * @param {string} text Any string.
 * @param {number} limit Code points that are read of a longer text, half of them from its end.
 * @returns {string[]}
 */
export function splitWords(text, limit) {
  const characters = [...text];
  if (characters.length > limit) {
    const half = Math.floor(limit / 2);
    text = `${characters.slice(0, half).join("")} ${characters.slice(characters.length - half).join("")}`;
  }
  for (const [entity, character] of ENTITIES) text = text.replaceAll(entity, character);
  text = text.normalize("NFKC").toLowerCase();
  const words = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    splitPlain(text.slice(end, match.index), words);
    words.push("[URL]");
    end = match.index + match[0].length;
  }
  splitPlain(text.slice(end), words);
  return words;
}

function splitPlain(text, words) {
  let current = "";
  for (const character of text) {
    const space = SPACE.test(character);
    if (!space && NOTHING.test(character)) continue;
    const han = HAN.test(character);
    if (!space && !han && WORD.test(character)) {
      current += character;
      continue;
    }
    if (current) words.push(squeeze(current));
    current = "";
    // Two of the same symbol say as much as ten.
    const twice = words.length > 1 && words.at(-1) === character && words.at(-2) === character;
    if (!space && (han || !twice)) words.push(character);
  }
  if (current) words.push(squeeze(current));
}

function squeeze(word) {
  return word.replace(REPEATS, "$1$1");
}
