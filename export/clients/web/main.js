// Start: fetch the model, check it, load it, test it on its own examples, show the view of its task.

import { readBundle } from "./bundle.js";
import { html } from "./dom.js";
import { InputError, ModelFileError } from "./errors.js";
import { language, percent, say } from "./messages.js";
import { Model } from "./model.js";
import { readGolden, selfTest } from "./selftest.js";
import { taskOf } from "./tasks.js";

const status = document.getElementById("status");
const spoken = document.getElementById("spoken"); // the answer again, for those who cannot see the result

start().catch(fail);

async function start() {
  document.documentElement.lang = language;
  document.getElementById("hint").remove();
  document.getElementById("local").textContent = say.local;
  const site = await (await get("site.json")).json();
  const bundle = await readBundle(await download(site.model, site.bytes));
  const { manifest } = bundle;
  document.title = `${say[manifest.task] ?? manifest.task} · ${manifest.name}`;
  document.getElementById("title").textContent = say[manifest.task] ?? manifest.task;
  document.getElementById("about").append(...about(bundle, site));
  const task = taskOf(bundle);
  const cases = readGolden(bundle);
  tell(say.testing);
  const model = await Model.open(bundle);
  await selfTest(cases, model, task);
  const examples = cases.flatMap(({ request }) => request ?? []);
  task.show(document.getElementById("task"), { model, preprocessor: task.preprocessor, examples, work });
  document.documentElement.dataset.state = "ready";
  tell(say.ready);
}

/** Do something for the user: say that it goes on, then what came out of it. */
async function work(action) {
  tell(say.working);
  document.getElementById("task").setAttribute("aria-busy", "true");
  try {
    spoken.textContent = await action();
    tell(say.ready);
  } catch (error) {
    tell(error instanceof InputError ? error.message : reason(error), true);
  } finally {
    document.getElementById("task").removeAttribute("aria-busy");
  }
}

function tell(text, isError = false) {
  status.textContent = text;
  status.classList.toggle("error", isError);
}

function fail(error) {
  document.documentElement.dataset.state = "failed";
  tell(reason(error), true);
}

function reason(error) {
  return error instanceof ModelFileError ? error.message : say.failed(error?.message ?? error);
}

async function get(name) {
  let answer;
  try {
    answer = await fetch(name);
  } catch {
    throw new ModelFileError(`Cannot fetch '${name}'; is the server still running?`);
  }
  if (!answer.ok) throw new ModelFileError(`Cannot fetch '${name}': the server says ${answer.status}.`);
  return answer;
}

/** The bytes of the model, with progress. */
async function download(name, expected) {
  const answer = await get(name);
  const bytes = new Uint8Array(expected);
  let length = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    if (length + value.length > expected) throw new ModelFileError(`'${name}' is longer than it was made; copy it again.`);
    bytes.set(value, length);
    length += value.length;
    tell(`${say.loading}: ${percent(length / expected)}`);
  }
  if (length < expected) throw new ModelFileError(`'${name}' was cut short; copy it again.`);
  return bytes;
}

function about(bundle, { bytes }) {
  const credit = bundle.entries.has("licences.json") ? bundle.json("licences.json").data : null;
  const data = credit && [credit.credit, credit.name].filter(Boolean).join(" · ");
  const facts = { ...bundle.manifest, size: `${(bytes / 1e6).toFixed(1)} MB`, data: data || "?" };
  const rows = Object.entries(say.facts).map(([key, name]) => [name, facts[key]]);
  return [
    html("summary", {}, say.about),
    html("dl", {}, ...rows.flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, String(value))])),
  ];
}
