// The model in its worker.

import { SIGNATURE } from "./bundle.js";
import { ModelFileError } from "./errors.js";

const SLOWEST_MS = 120_000;

/** A loaded model; `run` may be called at any time, calls take turns. */
export class Model {
  /** Start a worker and load a checked bundle's flatbuffer in it. */
  static async open(bundle) {
    const model = new Model();
    const flatbuffer = bundle.flatbuffer.slice(); // the worker's own, the page keeps the bundle
    await model.ask("load", { flatbuffer, signature: SIGNATURE }, [flatbuffer.buffer]);
    return model;
  }

  constructor() {
    this.waiting = new Map();
    this.last = 0;
    this.worker = new Worker(new URL("./worker.js", import.meta.url));
    this.worker.onmessage = ({ data: { id, result, error } }) => {
      const { resolve, reject } = this.waiting.get(id);
      if (error === undefined) resolve(result);
      else reject(new ModelFileError(`The model failed: ${error.replace(/\.$/, "")}.`));
    };
    this.worker.onerror = (event) => this.stop(`The model's worker failed: ${event.message || "it did not start"}.`);
  }

  /** Run once: {name: {data, shape}} in and out. */
  run(inputs) {
    return this.ask("run", inputs);
  }

  ask(action, value, transfer = []) {
    const id = ++this.last;
    const answer = new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
    const timer = setTimeout(() => this.stop("The model did not answer within two minutes; reload the page."), SLOWEST_MS);
    this.worker.postMessage({ id, action, value }, transfer);
    return answer.finally(() => {
      clearTimeout(timer);
      this.waiting.delete(id);
    });
  }

  stop(message) {
    this.worker.terminate();
    for (const { reject } of this.waiting.values()) reject(new ModelFileError(message));
  }
}
