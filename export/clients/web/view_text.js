// A text in; class probabilities and the weight of each word out.

import { html } from "./dom.js";
import { percent, say } from "./messages.js";

const PAUSE_MS = 300;

/**
 * Put the view on the page.
 *
 * @param {HTMLElement} place
 * @param {{model: object, preprocessor: object, examples: object[], work: Function}} app
 */
export function showText(place, { model, preprocessor, examples, work }) {
  const result = html("section", { class: "result", hidden: true });
  let pause;
  const classify = () =>
    work(async () => {
      if (!field.value.trim()) {
        result.hidden = true;
        return "";
      }
      const request = preprocessor.request(field.value);
      const answer = preprocessor.answer(request, await model.run(request));
      result.replaceChildren(...answerParts(answer));
      result.hidden = false;
      return `${answer.label} ${percent(Math.max(...answer.probabilities.map(([, share]) => share)))}`;
    });
  const field = html("textarea", {
    rows: 4,
    placeholder: say.typeText,
    input: () => {
      clearTimeout(pause);
      pause = setTimeout(classify, PAUSE_MS);
    },
  });
  place.append(html("label", { class: "field" }, say.yourText, field));
  if (examples.length) {
    let next = 0;
    const show = () => {
      field.value = new TextDecoder().decode(examples[next++ % examples.length].bytes);
      classify();
    };
    place.append(html("button", { type: "button", class: "quiet", click: show }, say.example));
  }
  place.append(result);
}

function answerParts({ label, probabilities, words }) {
  const most = Math.max(...words.map(([, weight]) => weight)) || 1;
  return [
    html("h2", { class: "label" }, label),
    html("ul", { class: "bars", "aria-label": say.classes }, ...probabilities.map((pair) => bar(pair, label))),
    html("h3", {}, say.words),
    html("ul", { class: "words" }, ...words.map((pair) => word(pair, most))),
  ];
}

function bar([name, share], label) {
  const fill = html("span", { class: "fill" });
  fill.style.inlineSize = `${100 * share}%`;
  const track = html("span", { class: "track", "aria-hidden": "true" }, fill);
  const current = name === label ? "true" : undefined;
  return html("li", { "aria-current": current }, html("span", {}, name), track, html("span", {}, percent(share)));
}

function word([text, weight], most) {
  const shown = html("li", { title: say.weight(text, percent(weight)) }, text);
  shown.style.setProperty("--weight", weight / most);
  shown.append(html("small", {}, percent(weight)));
  return shown;
}
