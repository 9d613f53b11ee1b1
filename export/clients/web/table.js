// A table of a user's: CSV with a header, ordered by date. Every fault is one line that says what to do.

import { parseDate } from "./dates.js";
import { InputError } from "./errors.js";

export const MAX_BYTES = 2 ** 26;
const MAX_ROWS = 1_000_000;
const MAX_COLUMNS = 20_000;
const DATE_NAMES = ["date", "datetime", "timestamp", "time", "day", "ds"];
const SPACES = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const OUTER_SPACE = new RegExp(`^[${SPACES}]+|[${SPACES}]+$`, "g");
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;
const INFINITE = /^([+-]?)inf(?:inity)?$/i;
const NOT_A_NUMBER = /^[+-]?nan$/i;

/**
 * Read a table; its rows are ordered by the date column if there is one.
 *
 * @param {string | Uint8Array} source Text, or the bytes of a file in UTF-8; commas, semicolons or tabs between fields.
 * @param {string} title What it is, for messages.
 * @returns {Table}
 * @throws {InputError} If it cannot be read, or a date is missing or occurs twice.
 */
export function readTable(source, title) {
  const text = typeof source === "string" ? source.replace(/^\ufeff/, "") : decode(source, title);
  const firstLine = text.split("\n", 1)[0];
  const [delimiter] = [",", ";", "\t"].sort((a, b) => firstLine.split(b).length - firstLine.split(a).length);
  const found = parseCsv(text, delimiter).filter(({ fields }) => fields.some((field) => strip(field)));
  if (!found.length) throw new InputError(`${title} is empty; it must have a row of column names and rows of data.`);
  const header = found[0].fields.map(strip);
  const names = header.map((name) => name.toLowerCase());
  const rows = found.slice(1);
  if (header.length > MAX_COLUMNS || rows.length > MAX_ROWS) {
    throw new InputError(`${title} is too large a table for one forecast; give the last rows.`);
  }
  names.forEach((name, i) => {
    if (names.indexOf(name) !== i) {
      throw new InputError(`${title} has several columns named '${header[i]}'; rename them.`);
    }
  });
  for (const { fields, line } of rows) {
    if (fields.length !== header.length) {
      throw new InputError(
        `${title}, line ${line} has ${fields.length} fields, but there are ${header.length} columns; correct it.`,
      );
    }
  }
  return new Table(title, names, rows).byDate();
}

/** `names` (lower case), `rows` ({fields, line}), `dates` (the date column's cells, or null). */
export class Table {
  constructor(title, names, rows, dates = null) {
    Object.assign(this, { title, names, rows, dates });
  }

  /** The last `count` cells of a column as numbers; NaN and infinity are numbers here. */
  numbers(name, count) {
    const column = this.names.indexOf(strip(name).toLowerCase());
    return this.rows.slice(-count).map(({ fields, line }) => {
      const number = parseNumber(fields[column]);
      if (number === null) {
        const shown = fields[column] === "" ? "empty" : quoted(fields[column]).slice(0, 40);
        throw new InputError(`${this.title}: column '${name}' is ${shown} in line ${line}; it must be a number.`);
      }
      return number;
    });
  }

  /** The same table, oldest row first. */
  byDate() {
    let column = this.names.indexOf(DATE_NAMES.find((name) => this.names.includes(name)));
    if (column < 0 && this.rows.length) column = this.rows[0].fields.findIndex((cell) => parseDate(cell) !== null);
    if (column < 0) return this;
    const dated = this.rows.map((row) => {
      const cell = row.fields[column];
      const date = parseDate(cell);
      if (date === null) {
        throw new InputError(
          `${this.title}: ${quoted([...cell].slice(0, 40).join(""))} in line ${row.line} of column ` +
            `'${this.names[column]}' is no date; write dates as 2011-01-31.`,
        );
      }
      return { row, date };
    });
    dated.sort((a, b) => a.date - b.date);
    for (let i = 1; i < dated.length; i++) {
      if (dated[i].date === dated[i - 1].date) {
        const cell = dated[i - 1].row.fields[column];
        throw new InputError(`${this.title} has the date ${cell} twice; keep one row a date.`);
      }
    }
    const rows = dated.map(({ row }) => row);
    return new Table(this.title, this.names, rows, rows.map(({ fields }) => fields[column]));
  }
}

/** The number a cell holds, or null. */
export function parseNumber(cell) {
  const text = strip(cell);
  if (NUMBER.test(text)) return Number(text);
  if (NOT_A_NUMBER.test(text)) return NaN;
  const infinite = INFINITE.exec(text);
  if (infinite) return infinite[1] === "-" ? -Infinity : Infinity;
  return null;
}

/** A text without the white space around it; what Python calls white space. */
export function strip(text) {
  return text.replace(OUTER_SPACE, "");
}

function decode(bytes, title) {
  if (bytes.length > MAX_BYTES) {
    throw new InputError(`${title} is larger than ${MAX_BYTES >> 20} MiB; give fewer rows.`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new InputError(`${title} is not UTF-8; convert it.`);
  }
}

/** Records of a CSV text; `line` is the number of the line a record ends on. */
function parseCsv(text, delimiter) {
  const records = [];
  let fields = [];
  let field = "";
  let state = "start"; // of a field; or "plain", "quoted", "closed" (behind a closing quote)
  let line = 1;
  const endRecord = () => {
    if (fields.length || field || state !== "start") records.push({ fields: [...fields, field], line });
    [fields, field, state] = [[], "", "start"];
  };
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    const breaks = character === "\n" || (character === "\r" && text[i + 1] !== "\n");
    if (state === "quoted") {
      if (character === '"') state = "closed";
      else field += character;
    } else if (character === '"' && state === "start") {
      state = "quoted";
    } else if (character === '"' && state === "closed") {
      field += character;
      state = "quoted";
    } else if (character === delimiter) {
      fields.push(field);
      [field, state] = ["", "start"];
    } else if (character === "\n" || character === "\r") {
      if (breaks) endRecord();
    } else {
      field += character;
      state = "plain";
    }
    if (breaks) line++;
  }
  endRecord();
  return records;
}

/** A text in the quotes Python would show it in. */
function quoted(text) {
  const escaped = text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\r", "\\r").replaceAll("\t", "\\t");
  if (escaped.includes("'") && !escaped.includes('"')) return `"${escaped}"`;
  return `'${escaped.replaceAll("'", "\\'")}'`;
}
