/** The binary form of answers, parts of arrays, and the data of a saved page. */

const TYPES = {
  float32: Float32Array, float64: Float64Array, uint8: Uint8Array, bool: Uint8Array,
  int32: Int32Array, uint32: Uint32Array,
};
const padded = (n) => Math.ceil(n / 8) * 8;

/** {result, arrays} of a packed answer: length, JSON, then the arrays, each padded to 8 bytes. */
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const text = new TextDecoder().decode(new Uint8Array(buffer, 4, length));
  const {result, arrays} = JSON.parse(text);
  let at = padded(4 + length);
  const views = arrays.map((about) => {
    const count = about.shape.reduce((a, b) => a * b, 1);
    const data = new TYPES[about.dtype](buffer, at, count);
    at = padded(at + data.byteLength);
    return array(about, data);
  });
  return {result, arrays: views};
}

function array(about, data) {
  const whole = (about.whole || [0, 0]).map(Number);
  return {...about, data, whole, fullShape: about.full_shape || about.shape};
}

/** Base64 of bytes. */
export function base64(data) {
  return btoa(String.fromCharCode(...data));
}

/** Base64 for addresses: no +, / or =. */
export function base64url(data) {
  return base64(data).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** The bytes of base64, of either alphabet. */
export function bytes(text) {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const data = new Uint8Array(plain.length);
  for (let i = 0; i < data.length; i++) {
    data[i] = plain.charCodeAt(i);
  }
  return data;
}

/**
 * The data of a saved page, or null: the element #explore-data holds, in base64, a packed answer
 * that is gzipped, its bytes in planes. Its result is that of the action `session` plus "calls",
 * {"ACTION BODY-AS-JSON": result}, and "stored", the arrays by name: {layer, what, shape, whole},
 * with "array", the number of its numbers; or "outer", those of the vectors whose products it is;
 * or "missing", why there is none.
 */
export async function saved() {
  const element = document.getElementById("explore-data");
  if (!element) {
    return null;
  }
  const {result, arrays} = unpack((await joined(bytes(element.textContent.trim()))).buffer);
  element.remove();
  const known = new Map(result.stored.map((each) => [`${each.layer}|${each.what}`, each]));
  const find = ({layer, what}) => {
    const entry = known.get(`${layer}|${what}`);
    return entry && (entry.made ??= whole(entry, arrays));
  };
  const call = async (...asked) => answer(result, find, ...asked);
  return {result, call};
}

const PLANES = 8; // as in single.py

/** Gzipped planes of bytes as they were: byte k of plane j is byte j of word k. */
async function joined(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const data = new Uint8Array(planes.length);
  const words = planes.length / PLANES;
  for (let j = 0; j < PLANES; j++) {
    for (let k = 0; k < words; k++) {
      data[PLANES * k + j] = planes[j * words + k];
    }
  }
  return data;
}

/** A stored array of its own shape. */
function whole(entry, arrays) {
  if (entry.missing) {
    return array({...entry, shape: [0], dtype: "float32"}, new Float32Array(0));
  }
  if (!entry.outer) {
    const {data, dtype} = arrays[entry.array];
    return array({...entry, dtype}, data);
  }
  const [x, dz] = entry.outer.map((k) => arrays[k]);
  const data = new x.data.constructor(x.data.length * dz.data.length);
  for (let i = 0, k = 0; i < x.data.length; i++) {
    for (let j = 0; j < dz.data.length; j++, k++) {
      data[k] = x.data[i] * dz.data[j] + 0; // exact before it is rounded; a sum has no -0
    }
  }
  return array({...entry, dtype: x.dtype}, data);
}

function answer(result, find, action, body, requests) {
  const found = (result.calls || {})[`${action} ${JSON.stringify(body)}`];
  if (action !== "arrays" && action !== "state" && found === undefined) {
    throw refusal("This is a saved page; for this it needs nanocnn explore running.");
  }
  const arrays = requests.map((request) => {
    const all = find(request);
    if (!all) {
      throw refusal(`This saved page does not hold ${request.what} of ${request.layer}.`);
    }
    return request.index && !all.missing ? part(all, request.index) : all;
  });
  return {...(found || {}), arrays};
}

/** An error as the server's are. */
const refusal = (text) => Object.assign(new Error(text), {status: 400});

/** The part of an array that an index names: per axis null, a number or [start, stop]. */
function part(whole, index) {
  const {shape, data} = whole;
  const ranges = shape.map((n, axis) => {
    const at = index[axis] ?? null;
    return at === null ? [0, n] : typeof at === "number" ? [at, at + 1] : at;
  });
  const kept = shape.map((n, axis) => ranges[axis][1] - ranges[axis][0]);
  const out = new data.constructor(kept.reduce((a, b) => a * b, 1));
  for (let i = 0; i < out.length; i++) {
    let [rest, from, step] = [i, 0, 1];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += (ranges[axis][0] + (rest % kept[axis])) * step;
      rest = Math.floor(rest / kept[axis]);
      step *= shape[axis];
    }
    out[i] = data[from];
  }
  const left = kept.filter((n, axis) => typeof (index[axis] ?? null) !== "number");
  return {...whole, data: out, shape: left, fullShape: shape};
}

/** A promise in a cache of a larger part of the array, or undefined. */
export function covering(cache, {layer, what, index}) {
  for (const [key, promise] of index ? cache : []) {
    const other = JSON.parse(key);
    const covers = (at, axis) => {
      const from = other.index?.[axis] ?? null;
      const [start, stop] = range(at);
      return from === null || (Array.isArray(from) && start >= from[0] && stop <= from[1]);
    };
    if (other.layer === layer && other.what === what && index.every(covers)) {
      return promise.then((array) => ({...array, outer: other.index}));
    }
  }
  return undefined;
}

const range = (at) => (at === null ? [0, Infinity] : Array.isArray(at) ? at : [at, at + 1]);

/** The part of `array`, which is itself the part `outer` of the whole. */
export function inner(array, {index}) {
  const moved = index.map((at, axis) => {
    const start = array.outer?.[axis]?.[0] ?? 0;
    return at === null ? null : Array.isArray(at) ? at.map((v) => v - start) : at - start;
  });
  return {...part(array, moved), fullShape: array.fullShape};
}
