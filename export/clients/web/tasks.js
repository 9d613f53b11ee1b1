// The three tasks: which preprocessor and which view belong to a bundle.

import { CaptionPreprocessor } from "./captioning.js";
import { ModelFileError } from "./errors.js";
import { resize, rgbaOf } from "./resize.js";
import { SeriesPreprocessor } from "./series.js";
import { readTable } from "./table.js";
import { TextPreprocessor } from "./text.js";
import { showCaptioning } from "./view_captioning.js";
import { showForecasting } from "./view_forecasting.js";
import { showText } from "./view_text.js";

/**
 * What a bundle's task needs.
 *
 * @param {import("./bundle.js").Bundle} bundle
 * @returns {{preprocessor: object, requestOfRaw: Function, says: Function, show: Function}} `requestOfRaw` turns a golden
 *   request into serving inputs, `says` names what the outputs must mean, `show` puts the view on the page.
 */
export function taskOf(bundle) {
  const settings = bundle.json("preprocessor/preprocessor.json");
  switch (bundle.manifest.task) {
    case "captioning":
      return captioning(new CaptionPreprocessor(settings, bundle.vocabulary()));
    case "text_classification":
      return text(new TextPreprocessor(settings, bundle.vocabulary()));
    case "forecasting":
      return forecasting(new SeriesPreprocessor(settings));
    default:
      throw new ModelFileError(`This page does not know the task '${bundle.manifest.task}'; make the site again.`);
  }
}

function captioning(preprocessor) {
  return {
    preprocessor,
    requestOfRaw: ({ bytes, height, width }) => {
      const pixels = rgbaOf(bytes);
      const rows = (top, count) => pixels.subarray(top * width * 4, (top + count) * width * 4);
      return preprocessor.request(resize(rows, [height, width], preprocessor.size));
    },
    says: (request, outputs) => ({ text: preprocessor.answer(request, outputs).text }),
    show: showCaptioning,
  };
}

function text(preprocessor) {
  return {
    preprocessor,
    requestOfRaw: ({ bytes }) => preprocessor.request(new TextDecoder().decode(bytes)),
    says: (request, outputs) => ({ label: preprocessor.answer(request, outputs).label }),
    show: showText,
  };
}

function forecasting(preprocessor) {
  return {
    preprocessor,
    requestOfRaw: ({ bytes }) => preprocessor.request(readTable(bytes, "The table")),
    says: () => ({ target: preprocessor.target }),
    show: showForecasting,
  };
}
