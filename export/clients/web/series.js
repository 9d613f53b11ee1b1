// A table to the last window of prices, and quantiles back to a forecast (docs/preprocess.md, "Series").

import { InputError, ModelFileError } from "./errors.js";
import { strip } from "./table.js";

const PRICE_NAMES = ["open", "high", "low", "close", "price"];
const VOLUME_NAMES = ["volume"];
const SPLIT_NAME = "split_factor";
const LARGEST = 3.4028234663852886e38; // of float32

/** Windows of a table with named columns. */
export class SeriesPreprocessor {
  /** @param {object} settings `preprocessor.json`. */
  constructor(settings) {
    const { columns, target, window: length, horizon, levels } = settings;
    const lists = Array.isArray(columns) && Array.isArray(levels) && Array.isArray(settings.price_columns);
    if (!lists || !columns.includes(target) || !(length >= 2 && length <= 1e6) || !(horizon >= 1)) {
      throw new ModelFileError("The table settings of this model are damaged; export it again.");
    }
    Object.assign(this, { columns, target, length, horizon, levels });
    this.priceColumns = settings.price_columns;
    this.logPrices = settings.log_prices;
    this.targetIndex = columns.indexOf(target);
  }

  /**
   * The serving input of a table: `window`, float32 (1, rows, columns), raw units, oldest first.
   *
   * @param {import("./table.js").Table} table
   * @throws {InputError} If a column is missing, rows are too few, or a value is no finite number.
   */
  request(table) {
    const missing = this.columns.filter((name) => !table.names.includes(normal(name)));
    if (missing.length) {
      const named = missing.map((name) => `'${name}'`).join(", ");
      throw new InputError(`${table.title} has no column ${named}; the model needs ${this.columns.join(", ")}.`);
    }
    if (table.rows.length < this.length) {
      throw new InputError(
        `${table.title} has ${table.rows.length} rows, but the model looks back ${this.length}; give at least as many.`,
      );
    }
    const columns = this.columns.map((name) => table.numbers(name, this.length));
    const factors = table.names.includes(SPLIT_NAME) ? table.numbers(SPLIT_NAME, this.length) : null;
    const rows = table.rows.slice(-this.length).map(({ line }) => `line ${line}`);
    this.checkFinite(columns, rows);
    if (this.logPrices) this.checkPositive(columns, rows);
    if (factors) {
      this.joinSplits(columns, factors);
      this.checkFinite(columns, rows.map((row) => `${row}, after its share splits`));
    }
    const data = new Float32Array(this.length * columns.length);
    columns.forEach((values, c) => values.forEach((value, row) => (data[row * columns.length + c] = value)));
    return { window: { data, shape: [1, this.length, columns.length] } };
  }

  /**
   * The forecast in the target's own unit.
   *
   * @returns {{mean: number[], quantiles: number[][], levels: number[], history: number[], weights: number[]}}
   */
  answer(request, outputs) {
    const [mean, flat, weights] = ["mean", "quantiles", "step_weights"].map((name) => [...outputs[name].data]);
    const count = this.levels.length;
    const whole = mean.length === this.horizon && flat.length === this.horizon * count;
    if (!whole || ![...mean, ...flat, ...weights].every(Number.isFinite)) {
      throw new ModelFileError("The model gave no forecast; reload the page, or export the model again.");
    }
    const { data, shape } = request.window;
    const history = Array.from({ length: shape[1] }, (_, row) => data[row * shape[2] + this.targetIndex]);
    const quantiles = mean.map((_, step) => flat.slice(step * count, (step + 1) * count));
    return { mean, quantiles, levels: this.levels, history, weights };
  }

  checkFinite(columns, rows) {
    rows.forEach((name, row) =>
      columns.forEach((values, c) => {
        if (Math.abs(values[row]) <= LARGEST) return;
        throw new InputError(
          `Column '${this.columns[c]}' (${name}) is ${pythonNumber(values[row])}; ` +
            "a forecast needs finite numbers: fill or drop it.",
        );
      }),
    );
  }

  checkPositive(columns, rows) {
    rows.forEach((name, row) =>
      this.priceColumns.forEach((c) => {
        if (columns[c][row] > 0) return;
        throw new InputError(
          `Column '${this.columns[c]}' (${name}) is ${pythonNumber(Number(columns[c][row].toPrecision(6)))}; this model ` +
            "was trained on positive prices: correct the row.",
        );
      }),
    );
  }

  /** Bring older rows to the shares of the last day. */
  joinSplits(columns, factors) {
    if (!factors.every((factor) => factor > 0 && Number.isFinite(factor))) {
      throw new InputError(
        `Column '${SPLIT_NAME}' must be a number above 0 in every row; use 1 where there is no split.`,
      );
    }
    let product = 1;
    const shares = factors.map((factor) => (product *= factor));
    this.columns.forEach((name, c) => {
      const power = PRICE_NAMES.includes(normal(name)) ? 1 : VOLUME_NAMES.includes(normal(name)) ? -1 : 0;
      columns[c] = columns[c].map((value, row) => value * (shares[row] / product) ** power);
    });
  }
}

function normal(name) {
  return strip(name).toLowerCase();
}

/** A number as Python shows it. */
function pythonNumber(value) {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value < 0 ? "-inf" : "inf";
  return String(value).replace(/e([+-])(\d)$/, "e$10$2");
}
