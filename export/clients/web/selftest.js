// The self-test at start-up: the golden cases of a bundle are requests with the answers the file gave when it was made.
//
// Some runtimes report success and return garbage when a model fails inside, so nothing is answered before it passes.

import { ModelFileError } from "./errors.js";

const INDEX = "golden/golden.json";
const ARRAYS = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };
const FORECASTS = ["mean", "quantiles"];

/**
 * The golden cases, with their arrays.
 *
 * @param {import("./bundle.js").Bundle} bundle
 * @returns {object[]} `id`, `inputs` and `outputs` ({data, shape} by name); since version 2 also `request` (what a
 *   person gives: kind, bytes, a picture's height and width) and `answer` (what the outputs mean).
 */
export function readGolden(bundle) {
  const { cases, byte_order: order } = bundle.json(INDEX);
  if (!Array.isArray(cases) || !cases.length || order !== "little") {
    throw new ModelFileError("The model carries no golden examples to test it with; export it again.");
  }
  return cases.map(({ id, inputs, outputs, request, answer }) => ({
    id: String(id),
    inputs: readArrays(bundle, inputs),
    outputs: readArrays(bundle, outputs),
    request: request && { ...request, bytes: bundle.bytes(request.file) },
    answer,
  }));
}

/**
 * Answer every golden case and compare.
 *
 * @param {object[]} cases See `readGolden`.
 * @param {{run: Function}} model
 * @param {{requestOfRaw: Function, says: Function}} task See tasks.js.
 * @throws {ModelFileError} If an answer is not the stored one.
 */
export async function selfTest(cases, model, task) {
  for (const { id, inputs, outputs, request, answer } of cases) {
    let wrong = "";
    if (request) wrong = difference(inputs, task.requestOfRaw(request));
    const found = wrong ? {} : await model.run(inputs);
    wrong ||= difference(outputs, found);
    if (!wrong && answer) {
      const said = task.says(inputs, found);
      const name = Object.keys(said).find((key) => said[key] !== answer[key]);
      if (name) wrong = `'${name}' is '${said[name]}' where it should be '${answer[name]}'`;
    }
    if (wrong) {
      throw new ModelFileError(
        `The model does not give its own stored answers in this browser (example ${id}: ${wrong}), ` +
          "so its answers here could not be trusted.",
      );
    }
  }
}

/** Why arrays are not the expected ones, or "". */
export function difference(expected, arrays) {
  for (const [name, { data }] of Object.entries(expected)) {
    const got = arrays[name]?.data;
    if (got?.length !== data.length || got.constructor !== data.constructor) return `'${name}' has another shape`;
    const largest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const wrong = data.findIndex((value, i) => !(Math.abs(value - got[i]) <= tolerance(name, data, value, largest)));
    if (wrong >= 0) return `'${name}' is ${got[wrong]} where it should be ${data[wrong]}`;
  }
  return "";
}

function tolerance(name, data, value, largest) {
  if (data instanceof Uint8Array) return 1; // pixels of a picture that was resized
  if (data instanceof Int32Array) return 0;
  if (name === "window") return 1e-7 * Math.abs(value);
  return FORECASTS.includes(name) ? 1e-4 * largest : 1e-3;
}

function readArrays(bundle, items) {
  return Object.fromEntries(
    Object.entries(items).map(([name, { file, dtype, shape }]) => {
      const type = ARRAYS[dtype];
      const bytes = bundle.bytes(file).slice(); // a copy starts at 0, as larger elements ask
      const size = shape.reduce((product, side) => product * side, 1);
      if (!type || size * type.BYTES_PER_ELEMENT !== bytes.length) {
        throw new ModelFileError(`The golden example '${file}' is damaged; export the model again.`);
      }
      return [name, { data: new type(bytes.buffer), shape }];
    }),
  );
}
