// The fan chart, as SVG: known values, mean and quantile bands, axes with labels.

import { html, svg } from "./dom.js";
import { number, percent, say } from "./messages.js";

const MARGIN = { top: 30, right: 14, bottom: 44 };
const TICK = 7; // pixels a digit of an axis label takes, generously

/**
 * Draw a forecast.
 *
 * @param {object} data `history` and their `names`, `mean`, `quantiles` (step by step), `levels`, `target`.
 * @param {[number, number]} size Width and height in pixels.
 * @returns {HTMLElement} A figure with a legend.
 */
export function fanChart({ history, names, mean, quantiles, levels, target }, [width, height]) {
  const values = [...history, ...mean, ...quantiles.flat()];
  const ticks = niceTicks(Math.min(...values), Math.max(...values), 5);
  const [low, high] = [Math.min(ticks[0], ...values), Math.max(ticks.at(-1), ...values)];
  const left = 12 + TICK * Math.max(...ticks.map((tick) => number(tick).length));
  const last = history.length - 1;
  const x = (i) => left + ((width - left - MARGIN.right) * i) / (last + mean.length);
  const y = (value) => MARGIN.top + ((height - MARGIN.top - MARGIN.bottom) * (high - value)) / (high - low || 1);
  const future = (of) => [[x(last), y(history[last])], ...mean.map((_, step) => [x(last + 1 + step), y(of(step))])];
  const line = (points) => points.map((point) => point.map((at) => at.toFixed(1)).join(",")).join(" ");
  const bands = Array.from({ length: Math.floor(levels.length / 2) }, (_, i) => {
    const [upper, lower] = [levels.length - 1 - i, i].map((column) => future((step) => quantiles[step][column]));
    return svg("polygon", { class: "band", points: line([...upper, ...lower.reverse()]) });
  });
  const parts = [
    ...ticks.map((tick) => grid(left, width - MARGIN.right, y(tick), number(tick))),
    svg("line", { class: "now", x1: x(last), x2: x(last), y1: MARGIN.top, y2: height - MARGIN.bottom }),
    svg("text", { x: 12, y: 14 }, target),
    ...bands,
    svg("polyline", { class: "known", points: line(history.map((value, i) => [x(i), y(value)])) }),
    svg("polyline", { class: "mean", points: line(future((step) => mean[step])) }),
    ...axisLabels(names, mean.length, x, height),
  ];
  const label = say.chart(target, history.length, mean.length);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  drawing.append(...parts);
  return html("figure", {}, drawing, legend(levels, bands.length));
}

function grid(left, right, y, text) {
  return svg(
    "g",
    { class: "tick" },
    svg("line", { x1: left, x2: right, y1: y, y2: y }),
    svg("text", { x: left - 6, y, "text-anchor": "end", "dominant-baseline": "middle" }, text),
  );
}

/** First and last known row, and the end of the forecast. */
function axisLabels(names, steps, x, height) {
  const y = height - MARGIN.bottom + 18;
  const last = names.length - 1;
  const text = (at, row, anchor, label) => svg("text", { x: at, y: y + 17 * row, "text-anchor": anchor }, label);
  return [
    text(x(0), 0, "start", names[0]),
    text(x(last), 1, steps > last ? "start" : "end", names[last]),
    text(x(last + steps), 0, "end", `+${steps}`),
  ];
}

function legend(levels, bands) {
  const item = (kind, text) => html("li", {}, html("span", { class: `key ${kind}`, "aria-hidden": "true" }), text);
  const named = Array.from({ length: bands }, (_, i) =>
    item(`band${i}`, say.band(percent(levels[i]), percent(levels.at(-1 - i)))),
  );
  return html("ul", { class: "legend" }, item("known", say.known), item("mean", say.mean), ...named);
}

/** About `count` round numbers from `low` to `high`. */
function niceTicks(low, high, count) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(low / step);
  const ticks = [];
  for (let i = first; i * step <= high + step * 1e-9; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks.length ? ticks : [low];
}
