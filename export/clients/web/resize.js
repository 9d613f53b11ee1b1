// Resizing as docs/preprocess.md asks: a triangle filter whose support grows with the reduction.
//
// The same fixed-point arithmetic as Pillow's BILINEAR: along rows, then along columns, 8 bits in between. Newer versions
// of Pillow take the columns first where that is faster; the two orders differ by at most one level.

const BITS = 22;
const HALF = 1 << (BITS - 1);

/**
 * Resize a picture.
 *
 * @param {(top: number, count: number) => Uint8ClampedArray} rows Gives some rows as RGBA; alpha is not read.
 * @param {[number, number]} size Height and width of the picture.
 * @param {[number, number]} target Height and width wanted.
 * @returns {Uint8Array} RGB, height x width x 3.
 */
export function resize(rows, [height, width], [newHeight, newWidth]) {
  const across = width === newWidth ? null : filter(width, newWidth);
  const lines = new Uint8Array(height * newWidth * 3);
  const strip = Math.max(1, Math.floor(2 ** 20 / width)); // never more than a few MB of the picture at once
  for (let top = 0; top < height; top += strip) {
    const count = Math.min(strip, height - top);
    const pixels = rows(top, count);
    const out = lines.subarray(top * newWidth * 3, (top + count) * newWidth * 3);
    if (across) alongRows(pixels, width, count, out, newWidth, across);
    else for (let i = 0, o = 0; o < out.length; i += 4) out.set([pixels[i], pixels[i + 1], pixels[i + 2]], (o += 3) - 3);
  }
  return height === newHeight ? lines : alongColumns(lines, newWidth * 3, filter(height, newHeight));
}

/** For every output position: the first input position, and the weights from there on, as fixed-point numbers. */
function filter(size, newSize) {
  const scale = size / newSize;
  const support = Math.max(scale, 1);
  const taps = [];
  for (let i = 0; i < newSize; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(size, Math.trunc(centre + support + 0.5));
    const weights = [];
    for (let x = first; x < last; x++) weights.push(Math.max(0, 1 - Math.abs((x - centre + 0.5) * (1 / support))));
    let total = 0;
    for (const weight of weights) total += weight;
    taps.push({ first, weights: Int32Array.from(weights, (weight) => Math.trunc(0.5 + (weight / total) * 2 ** BITS)) });
  }
  return taps;
}

function alongRows(pixels, width, count, out, newWidth, taps) {
  for (let y = 0, o = 0; y < count; y++) {
    for (let x = 0; x < newWidth; x++) {
      const { first, weights } = taps[x];
      let [red, green, blue] = [HALF, HALF, HALF];
      for (let k = 0, i = (y * width + first) * 4; k < weights.length; k++, i += 4) {
        red += pixels[i] * weights[k];
        green += pixels[i + 1] * weights[k];
        blue += pixels[i + 2] * weights[k];
      }
      out[o++] = clip(red);
      out[o++] = clip(green);
      out[o++] = clip(blue);
    }
  }
}

function alongColumns(lines, stride, taps) {
  const out = new Uint8Array(taps.length * stride);
  taps.forEach(({ first, weights }, y) => {
    for (let x = 0; x < stride; x++) {
      let sum = HALF;
      for (let k = 0, i = first * stride + x; k < weights.length; k++, i += stride) sum += lines[i] * weights[k];
      out[y * stride + x] = clip(sum);
    }
  });
  return out;
}

function clip(sum) {
  const value = sum >> BITS;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/** RGB bytes as RGBA. */
export function rgbaOf(bytes) {
  const pixels = new Uint8ClampedArray((bytes.length / 3) * 4).fill(255);
  for (let i = 0, o = 0; i < bytes.length; i += 3, o += 4) pixels.set(bytes.subarray(i, i + 3), o);
  return pixels;
}
