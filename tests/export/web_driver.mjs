// Uses the page of `zoo web` as a person would, in a real Chromium, and prints what it saw as JSON.
//
//   node web_driver.mjs NODE_MODULES < JOB
//
// JOB: {chromium, arguments, url, inputs: [{file} | {text}], pictures: [{file, size}]}. A file is chosen, a text is typed.
// Printed: {state, status, answers, pixels, requests, complaints, width, tensors: [of a run, freed after it]}.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.argv[2]}/`));
const { chromium } = require("playwright-core");
const job = JSON.parse(readFileSync(0, "utf8"));
const seen = { answers: [], pixels: [], requests: [], complaints: [] };

const browser = await chromium.launch({ executablePath: job.chromium, headless: true, args: job.arguments });
try {
  const page = await browser.newPage({ locale: "en-US", viewport: { width: 360, height: 740 } });
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("console", (message) => message.type() === "error" && seen.complaints.push(message.text()));
  page.on("pageerror", (error) => seen.complaints.push(String(error)));
  await page.goto(job.url);
  await page.waitForSelector("html:not([data-state=starting])", { timeout: 120_000 });
  seen.state = await page.getAttribute("html", "data-state");
  seen.status = await page.textContent("#status");
  for (const input of job.inputs ?? []) seen.answers.push(await answer(page, input));
  for (const picture of job.pictures ?? []) seen.pixels.push(await pixels(page, picture));
  if (seen.state === "ready") seen.tensors = await page.workers()[0].evaluate(freed);
  seen.width = await page.evaluate(() => document.documentElement.scrollWidth);
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));

async function answer(page, { file, text }) {
  await page.evaluate(() => {
    document.querySelector(".result").firstElementChild?.setAttribute("data-old", "");
    document.getElementById("status").className = "";
  });
  if (file) {
    await page.setInputFiles("input[type=file]", file);
  } else {
    await page.fill("textarea", text);
    const button = page.locator(".actions button:not(.quiet)");
    if (await button.count()) await button.click();
  }
  await page.waitForFunction(
    () =>
      !document.querySelector("[aria-busy]") &&
      (document.querySelector("#status.error") ||
        document.querySelector(".result:not([hidden]) > :first-child:not([data-old])")),
    null,
    { timeout: 60_000 },
  );
  const error = page.locator("#status.error");
  if (await error.count()) return { error: await error.textContent() };
  return await page.evaluate(async () => {
    const all = (selector) => [...document.querySelectorAll(`.result ${selector}`)];
    const texts = (selector) => all(selector).map((element) => element.textContent);
    const heats = [];
    for (const word of all(".caption button")) {
      word.focus();
      const { width, height } = document.querySelector(".heat");
      heats.push([...document.querySelector(".heat").getContext("2d").getImageData(0, 0, width, height).data]);
    }
    return {
      caption: all(".caption").map((element) => element.getAttribute("aria-label"))[0],
      looked: all(".caption button").map((element) => element.title),
      heats,
      heading: texts("h2")[0],
      bars: all(".bars li").map((item) => [...item.children].map((part) => part.textContent)),
      words: all(".words li").map((item) => [item.firstChild.textContent, item.lastChild.textContent]),
      rows: all("tbody tr").map((row) => [...row.querySelectorAll("td")].map((cell) => Number(cell.textContent))),
      spoken: document.getElementById("spoken").textContent,
    };
  });
}

/** What the page makes of a picture file, before the model. */
async function pixels(page, { file, size }) {
  return await page.evaluate(
    async ({ bytes, size }) => {
      const { decodeImage, pixelsOf } = await import(new URL("image.js", location.href).href);
      const bitmap = await decodeImage(new Blob([Uint8Array.from(bytes)]));
      return [...pixelsOf(bitmap, size)];
    },
    { bytes: [...readFileSync(file)], size },
  );
}

/** In the worker: how many tensors a run has, and how many of them are deleted by its end. */
async function freed() {
  const arrays = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };
  const inputs = {};
  for (const { name, dtype, shape } of runner.getInputDetails()) {
    const size = shape.reduce((product, side) => product * side, 1);
    inputs[name] = { data: new arrays[dtype](size).fill(1), shape: [...shape] };
  }
  let count = 0;
  const free = litert.Tensor.prototype.delete;
  litert.Tensor.prototype.delete = function () {
    count += 1;
    free.call(this);
  };
  await run(inputs);
  litert.Tensor.prototype.delete = free;
  return [runner.getInputDetails().length + runner.getOutputDetails().length, count];
}
