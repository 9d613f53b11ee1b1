// Runs the page's modules that need no browser and prints what they answer as JSON.
//
//   node web_modules.mjs FOLDER < JOB
//
// JOB, any part: {text: {settings, vocabulary, texts}, series: {settings, tables}, dates, numbers, resize: [{rgb, from, to}],
// files}. Tables and pixels are in base64.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const folder = pathToFileURL(`${process.argv[2]}/`);
const load = (name) => import(new URL(name, folder));
const { readBundle } = await load("bundle.js");
const { parseDate } = await load("dates.js");
const { resize, rgbaOf } = await load("resize.js");
const { SeriesPreprocessor } = await load("series.js");
const { parseNumber, readTable } = await load("table.js");
const { TextPreprocessor, splitWords } = await load("text.js");

const job = JSON.parse(readFileSync(0, "utf8"));
const said = {};
if (job.text) {
  const text = new TextPreprocessor(job.text.settings, job.text.vocabulary);
  said.words = job.text.texts.map((each) => splitWords(each, 16 * text.maxLength));
  said.ids = job.text.texts.map((each) => [...text.request(each).tokens.data]);
}
if (job.series) {
  const series = new SeriesPreprocessor(job.series.settings);
  said.tables = job.series.tables.map((each) => attempt(() => window(series, Buffer.from(each, "base64"))));
}
said.dates = job.dates?.map(parseDate);
said.numbers = job.numbers?.map((each) => String(parseNumber(each)));
said.pictures = job.resize?.map(resized);
if (job.files) said.files = await Promise.all(job.files.map((each) => readBundle(readFileSync(each)).then(names, message)));
console.log(JSON.stringify(said));

function window(series, bytes) {
  return [...series.request(readTable(new Uint8Array(bytes), "The table")).window.data];
}

function resized({ rgb, from, to }) {
  const pixels = rgbaOf(Buffer.from(rgb, "base64"));
  const rows = (top, count) => pixels.subarray(top * from[1] * 4, (top + count) * from[1] * 4);
  return Buffer.from(resize(rows, from, to)).toString("base64");
}

function names(bundle) {
  return [...bundle.entries.keys()];
}

function attempt(work) {
  try {
    return work();
  } catch (error) {
    return message(error);
  }
}

function message(error) {
  return error.message;
}
