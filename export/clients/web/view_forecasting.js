// A table in; the fan of the forecast out.

import { fanChart } from "./chart.js";
import { html, filePicker } from "./dom.js";
import { number, percent, say } from "./messages.js";
import { MAX_BYTES, readTable } from "./table.js";

const SHOWN_ROWS = 60;

/**
 * Put the view on the page.
 *
 * @param {HTMLElement} place
 * @param {{model: object, preprocessor: object, examples: object[], work: Function}} app
 */
export function showForecasting(place, { model, preprocessor, examples, work }) {
  const result = html("section", { class: "result", hidden: true });
  const forecast = (read) =>
    work(async () => {
      const table = await read();
      const request = preprocessor.request(table);
      const answer = preprocessor.answer(request, await model.run(request));
      const parts = answerParts(answer, preprocessor.target, table.dates);
      result.replaceChildren(...parts);
      result.hidden = false;
      return parts[0].textContent;
    });
  const picker = filePicker({
    label: say.chooseTable,
    hint: say.dropTable,
    accept: ".csv,.tsv,.txt,text/csv,text/tab-separated-values,text/plain",
    onFile: (file) =>
      forecast(async () => {
        const start = file.slice(0, MAX_BYTES + 1); // no more than is enough to refuse it
        return readTable(new Uint8Array(await start.arrayBuffer()), `'${file.name}'`);
      }),
  });
  const field = html("textarea", { rows: 5, spellcheck: "false", class: "table", placeholder: header(preprocessor) });
  const actions = html("div", { class: "actions" });
  const give = () => forecast(() => readTable(field.value, "The table"));
  place.append(
    html("p", { class: "note" }, say.columns(preprocessor.columns.join(", "), preprocessor.length)),
    picker,
    html("label", { class: "field" }, say.pasteTable, field),
    actions,
  );
  actions.append(html("button", { type: "button", click: give }, say.forecast));
  if (examples.length) {
    let next = 0;
    const show = () => {
      field.value = new TextDecoder().decode(examples[next++ % examples.length].bytes);
      give();
    };
    actions.append(html("button", { type: "button", class: "quiet", click: show }, say.example));
  }
  place.append(result);
}

function header({ columns }) {
  return ["date", ...columns].join(",");
}

function answerParts(answer, target, dates) {
  const { mean, quantiles, levels, history } = answer;
  const headline = say.inSteps(target, number(history.at(-1)), number(mean.at(-1)), mean.length);
  const shown = history.slice(-SHOWN_ROWS);
  const names = dates ? dates.slice(-shown.length) : shown.map((_, i) => String(i + 1 - shown.length));
  const holder = html("div", { class: "chart" });
  const draw = () => {
    const size = [Math.max(300, holder.clientWidth), 320];
    holder.replaceChildren(fanChart({ history: shown, names, mean, quantiles, levels, target }, size));
  };
  new ResizeObserver(draw).observe(holder);
  const body = mean.map((value, step) =>
    html(
      "tr",
      {},
      html("th", { scope: "row" }, `+${step + 1}`),
      ...[value, ...quantiles[step]].map((each) => html("td", {}, number(each))),
    ),
  );
  const columns = [say.step, say.mean, ...levels.map(percent)];
  const head = html("tr", {}, ...columns.map((name) => html("th", { scope: "col" }, name)));
  const table = html("table", {}, html("caption", {}, say.numbers), html("thead", {}, head), html("tbody", {}, ...body));
  return [html("h2", { class: "label" }, headline), holder, html("div", { class: "scroll", tabindex: 0 }, table)];
}
