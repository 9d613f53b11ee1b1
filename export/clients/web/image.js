// From a picture file to the pixels a model takes: decoded by the browser, upright, over white, resized by our own code.

import { InputError } from "./errors.js";
import { resize } from "./resize.js";

const MAX_PIXELS = 64_000_000;
const MAX_BYTES = 256 * 2 ** 20;

/**
 * Decode a picture.
 *
 * @param {Blob} file A picture file of any format the browser reads.
 * @returns {Promise<ImageBitmap>} Upright; the caller closes it.
 */
export async function decodeImage(file) {
  const name = file.name ? `The picture '${file.name}'` : "The picture";
  if (file.size > MAX_BYTES) throw new InputError(`${name} has over ${MAX_BYTES >> 20} MiB; make it smaller.`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      imageOrientation: "from-image",
      premultiplyAlpha: "none",
      colorSpaceConversion: "none",
    });
  } catch {
    throw new InputError(`${name} is damaged, or of a format this browser does not read; give a PNG or JPEG file.`);
  }
  if (bitmap.width * bitmap.height > MAX_PIXELS) {
    bitmap.close();
    throw new InputError(`${name} has more than ${MAX_PIXELS / 1e6} million pixels: make it smaller.`);
  }
  return bitmap;
}

/**
 * The pixels of a picture in a model's size; transparent parts show white.
 *
 * @param {ImageBitmap} bitmap
 * @param {[number, number]} size Height and width.
 * @returns {Uint8Array} RGB, height x width x 3.
 */
export function pixelsOf(bitmap, size) {
  const { width, height } = bitmap;
  const canvas = document.createElement("canvas");
  const rows = (top, count) => {
    canvas.width = width;
    canvas.height = count;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, count);
    context.drawImage(bitmap, 0, top, width, count, 0, 0, width, count);
    return context.getImageData(0, 0, width, count).data;
  };
  return resize(rows, [height, width], size);
}
