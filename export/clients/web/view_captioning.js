// A picture in; its caption and, for each word, where the model looked, out.

import { html, filePicker } from "./dom.js";
import { decodeImage, pixelsOf } from "./image.js";
import { number, say } from "./messages.js";
import { rgbaOf } from "./resize.js";

const COLD = [12, 16, 48, 165]; // red, green, blue, alpha
const WARM = [255, 120, 0, 70];

/**
 * Put the view on the page.
 *
 * @param {HTMLElement} place
 * @param {{model: object, preprocessor: object, examples: object[], work: Function}} app
 */
export function showCaptioning(place, { model, preprocessor, examples, work }) {
  const result = html("section", { class: "result", hidden: true });
  const caption = (open) =>
    work(async () => {
      const bitmap = await open();
      try {
        const request = preprocessor.request(pixelsOf(bitmap, preprocessor.size));
        const answer = preprocessor.answer(request, await model.run(request));
        result.replaceChildren(...captionParts(bitmap, answer));
        result.hidden = false;
        return answer.text;
      } finally {
        bitmap.close();
      }
    });
  const picker = filePicker({
    label: say.choosePicture,
    hint: say.dropPicture,
    accept: "image/*",
    onFile: (file) => caption(() => decodeImage(file)),
  });
  place.append(picker);
  if (examples.length) {
    let next = 0;
    const show = () => {
      const { bytes, width, height } = examples[next++ % examples.length];
      caption(() => createImageBitmap(new ImageData(rgbaOf(bytes), width, height)));
    };
    place.append(html("button", { type: "button", class: "quiet", click: show }, say.example));
  }
  place.append(result);
}

function captionParts(bitmap, { text, score, grid, words }) {
  const [rows, columns] = grid;
  const picture = drawn(bitmap);
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", say.picture(text));
  const heat = html("canvas", { class: "heat", width: columns, height: rows, "aria-hidden": "true" });
  const frame = html("div", { class: "frame" }, picture, heat);
  frame.style.inlineSize = `min(100%, 26rem, ${((70 * picture.width) / picture.height).toFixed(1)}vh)`;
  const buttons = words.map(({ text: word, map }) => {
    const place = say.places[third(peak(map) / columns, rows)][third(peak(map) % columns, columns)];
    const show = () => {
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      paint(heat, map);
    };
    const label = say.looked(word, place);
    const attributes = { type: "button", title: label, "aria-label": label, "aria-pressed": "false" };
    const button = html("button", { ...attributes, pointerenter: show, focus: show, click: show }, word);
    return button;
  });
  return [
    html("p", { class: "caption", role: "group", "aria-label": text }, ...buttons),
    frame,
    html("p", { class: "note" }, say.point),
    html("p", { class: "note" }, say.score(number(score))),
  ];
}

/** The picture on a canvas of at most 1024 pixels a side. */
function drawn(bitmap) {
  const scale = Math.min(1, 1024 / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = html("canvas", { class: "picture", width, height });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return canvas;
}

/** One pixel a cell, stretched smoothly over the picture: warm where the model looked, dark where it did not. */
function paint(heat, map) {
  const most = Math.max(...map) || 1;
  const pixels = new ImageData(heat.width, heat.height);
  map.forEach((weight, i) => {
    const share = weight / most;
    pixels.data.set(COLD.map((cold, channel) => cold + share * (WARM[channel] - cold)), i * 4);
  });
  heat.getContext("2d").putImageData(pixels, 0, 0);
}

function peak(map) {
  return map.indexOf(Math.max(...map));
}

function third(position, count) {
  return Math.min(2, Math.floor(((Math.floor(position) + 0.5) / count) * 3));
}
