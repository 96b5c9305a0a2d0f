/** How the array of a parameter is seen as small maps: filters, input channels, rows, columns. */

const FIRST = 65536; // numbers of the maps shown at first
const MOST = 2 ** 20; // numbers in one request

/** The two factors of n that are nearest to a square, rows first and no more than columns. */
function rectangle(n) {
  let rows = Math.floor(Math.sqrt(n));
  while (n % rows !== 0) {
    rows -= 1;
  }
  return [rows, n / rows];
}

/** The shape of what a flatten layer just before a dense layer takes apart, or null. */
function picture(model, layer, size) {
  const at = model.layers.indexOf(layer);
  const before = model.layers.slice(0, at).reverse()
    .find((one) => !/dropout|activation|relu/i.test(one.kind));
  const shape = before && /flatten|reshape/i.test(before.kind) ? before.input_shape : null;
  return shape && shape.length === 3 && shape[0] * shape[1] * shape[2] === size ? shape : null;
}

/** How many maps are shown at first, and at most. */
function counts(filters, size) {
  const within = (limit) => Math.min(filters, Math.max(1, Math.floor(limit / size)));
  return {first: Math.min(32, within(FIRST)), most: within(MOST)};
}

/** Maps of a parameter: {filters, channels, h, w, index(f, c, i, j), request(c), map(...)}.
 *
 * Convolution kernels (kh, kw, C, F) and dense kernels (n, F) have a map a filter or unit and an
 * input channel; all other parameters are one map.
 */
export function planes(model, layer, name) {
  const shape = layer.params[name];
  const what = `param:${name}`;
  if (shape.length === 4) {
    const [h, w, channels, filters] = shape;
    return {
      filters, channels, h, w, shape, unit: "filter",
      ...counts(filters, h * w),
      index: (f, c, i, j) => [i, j, c, f],
      place: ([i, j, c, f]) => ({f, c, i, j}),
      request: (c, stop) => ({layer: layer.name, what, index: [null, null, c, [0, stop]]}),
      one: (c, f) => ({layer: layer.name, what, index: [null, null, c, [f, f + 1]]}),
      map: (data, stop, f) => every(data, h * w, (k) => k * stop + f),
    };
  }
  if (shape.length === 2) {
    return densePlanes(model, layer, shape, what);
  }
  const size = shape.reduce((a, b) => a * b, 1);
  const [h, w] = size <= 32 ? [1, size] : rectangle(size);
  const index = (k) => shape.reduceRight(([rest, found], n) =>
    [Math.floor(rest / n), [rest % n, ...found]], [k, []])[1];
  return {
    filters: 1, channels: 1, h, w, shape, unit: "", first: 1, most: 1,
    index: (f, c, i, j) => index(i * w + j),
    place: (at) => {
      const k = at.reduce((sum, value, axis) => sum * shape[axis] + value, 0);
      return {f: 0, c: 0, i: Math.floor(k / w), j: k % w};
    },
    request: () => ({layer: layer.name, what}),
    one: () => ({layer: layer.name, what}),
    map: (data) => data,
  };
}

/** A dense kernel: the weights of a unit, laid out as the picture they look at where it is one. */
function densePlanes(model, layer, [size, filters], what) {
  const seen = picture(model, layer, size);
  const [h, w, channels] = seen ?? [...(size <= 32 ? [1, size] : rectangle(size)), 1];
  const request = (start, stop) => ({layer: layer.name, what, index: [null, [start, stop]]});
  return {
    filters, channels, h, w, shape: [size, filters], unit: "unit",
    ...counts(filters, size),
    index: (f, c, i, j) => [(i * w + j) * channels + c, f],
    place: ([k, f]) => ({f, c: k % channels, i: Math.floor(k / channels / w),
      j: Math.floor(k / channels) % w}),
    request: (c, stop) => request(0, stop),
    one: (c, f) => request(f, f + 1),
    map: (data, stop, f, c = 0) => every(data, h * w, (k) => (k * channels + c) * stop + f),
  };
}

/** `count` numbers of `data` at the places that `at` gives. */
function every(data, count, at) {
  const map = new data.constructor(count);
  for (let k = 0; k < count; k++) {
    map[k] = data[at(k)];
  }
  return map;
}

/** {name, index} of a weight's text "kernel:1,2,0,5", or null. */
export function parseWeight(text) {
  const [name, places] = (text ?? "").split(":");
  const index = (places ?? "").split(",").map(Number);
  return name && places && index.every((k) => Number.isInteger(k) && k >= 0) ? {name, index} : null;
}

/** The text of a weight for the address. */
export function weightText(name, index) {
  return `${name}:${index.join(",")}`;
}
