// Runs the model, away from the page's own thread. A classic worker: LiteRT.js loads its WebAssembly with importScripts.
"use strict";

const WASM = new URL("./litert/wasm/", self.location).href;
const ARRAYS = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };
// Must stand before LiteRT.js is loaded: its loader would otherwise look for the .wasm beside this file.
self.Module = { locateFile: (name) => WASM + name };

let litert;
let runner;
let turn = Promise.resolve();

// One request at a time, in the order they came.
self.onmessage = ({ data: { id, action, value } }) => {
  turn = turn.then(async () => {
    try {
      const result = action === "load" ? await load(value) : await run(value);
      self.postMessage({ id, result });
    } catch (error) {
      self.postMessage({ id, error: String(error?.message ?? error) });
    }
  });
};

/** Load LiteRT.js and the flatbuffer; returns the interface of one signature. */
async function load({ flatbuffer, signature }) {
  litert = await import("./litert/index.js");
  await litert.loadLiteRt(WASM);
  const model = await litert.loadAndCompile(flatbuffer, { accelerator: "wasm" });
  runner = model.signatures[signature];
  if (!runner) throw new Error(`the model has no signature '${signature}'`);
  const describe = (details) => details.map(({ name, dtype, shape }) => ({ name, dtype, shape: [...shape] }));
  return { inputs: describe(runner.getInputDetails()), outputs: describe(runner.getOutputDetails()) };
}

/** Run once: {name: {data, shape}} in and out. Whatever happens, every tensor is freed. */
async function run(inputs) {
  const tensors = [];
  const keep = (tensor) => (tensors.push(tensor), tensor);
  try {
    const given = {};
    for (const { name, dtype, shape } of runner.getInputDetails()) {
      const input = inputs[name];
      const fits = input && input.data instanceof ARRAYS[dtype] && String(input.shape) === String([...shape]);
      if (!fits) throw new Error(`the model takes '${name}' as ${dtype} (${[...shape]})`);
      given[name] = keep(new litert.Tensor(input.data, input.shape));
    }
    const found = await runner.run(given);
    Object.values(found).forEach(keep);
    const outputs = {};
    for (const [name, tensor] of Object.entries(found)) {
      // A copy: the tensor's memory goes away with it.
      outputs[name] = { data: (await tensor.data()).slice(), shape: [...tensor.type.layout.dimensions] };
    }
    return outputs;
  } finally {
    tensors.forEach((tensor) => tensor.delete());
  }
}
