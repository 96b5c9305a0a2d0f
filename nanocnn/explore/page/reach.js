/**
 * Which cells a cell is computed from and which it goes into, by a layer's `reach`.
 *
 * An index is an array of integers, a region an array of [start, stop], one an axis. Cells and
 * regions are those of one sample: no array here has a batch axis.
 */

/** The number of elements of an array of this shape. */
export const size = (shape) => shape.reduce((product, each) => product * each, 1);

/** The place of an index in the flat array, last axis fastest. */
export const flat = (index, shape) => index.reduce((at, i, axis) => at * shape[axis] + i, 0);

/** The index of a place in the flat array. */
export function unflat(at, shape) {
  const index = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index.unshift(at % shape[axis]);
    at = Math.floor(at / shape[axis]);
  }
  return index;
}

/** "2,3,0" as an index of an array of this shape, or null. */
export function parse(text, shape) {
  if (!text || !/^\d+(,\d+)*$/.test(text)) return null;
  const index = text.split(",").map(Number);
  return inside(index, shape) ? index : null;
}

/** Whether an index lies in an array of this shape. */
export const inside = (index, shape) =>
  index.length === shape.length && index.every((i, axis) => i >= 0 && i < shape[axis]);

/** The whole of an array as a region. */
export const everything = (shape) => shape.map((each) => [0, each]);

/** The smallest region that holds all these indices (null ones are left out). */
export function around(indices, shape) {
  const region = shape.map((each) => [each, 0]);
  for (const index of indices) {
    index?.forEach((i, axis) => {
      region[axis][0] = Math.min(region[axis][0], i);
      region[axis][1] = Math.max(region[axis][1], i + 1);
    });
  }
  return region.every(([start, stop]) => start < stop) ? region : shape.map(() => [0, 1]);
}

/** Every index of a region, last axis fastest. */
export function indices(region) {
  return region.reduce(
    (all, [start, stop]) =>
      all.flatMap((index) => Array.from({length: stop - start}, (_, i) => [...index, start + i])),
    [[]],
  );
}

/** The layers that compute: an `Input` is only the shape of what comes in. */
export const layersOf = (model) => model.layers.filter((layer) => !/^Input/.test(layer.kind));

const taps = (reach) => indices(everything(reach.size));
const dilation = (reach) => reach.dilation ?? [1, 1];

/** Row (axis 0) or column (axis 1) of the input under tap k of the window at place i. */
const under = (reach, axis, i, k) =>
  i * reach.strides[axis] + reach.start[axis] + k * dilation(reach)[axis];

/** The place of the window whose tap k lies on row or column i of the input, or -1. */
function over(reach, axis, i, k, count) {
  const offset = i - reach.start[axis] - k * dilation(reach)[axis];
  const place = offset / reach.strides[axis];
  return Number.isInteger(place) && place >= 0 && place < count ? place : -1;
}

/**
 * What a cell of the output is computed from: [{cell, weight, tap}], or null if it is not known.
 * `cell` is an index of the layer's input (null in the padding), `weight` one of the kernel.
 */
export function inputs(layer, cell) {
  const {reach, input_shape: shape} = layer;
  const last = cell[cell.length - 1];
  switch (reach.kind) {
    case "window": {
      const channels = reach.channels === "all" ? everything([shape[2]])[0] : [last, last + 1];
      return taps(reach).flatMap(([kh, kw]) => {
        const [i, j] = [under(reach, 0, cell[0], kh), under(reach, 1, cell[1], kw)];
        return indices([channels]).map(([c]) => ({
          cell: inside([i, j, c], shape) ? [i, j, c] : null,
          weight: reach.channels === "all" ? [kh, kw, c, last] : null,
          tap: [kh, kw, c],
        }));
      });
    }
    case "all":
      return indices(everything(shape)).map((d) => ({cell: d, weight: [...d, last], tap: d}));
    case "same":
      return [{cell, weight: [last], tap: cell}];
    case "reshape": {
      const from = unflat(flat(cell, layer.output_shape), shape);
      return [{cell: from, weight: null, tap: from}];
    }
    case "channel":
      return indices(everything(shape.slice(0, 2))).map(([i, j]) => ({
        cell: [i, j, last], weight: null, tap: [i, j, last],
      }));
    case "row":
      return rowOf(cell, shape).map((each) => ({cell: each, weight: null, tap: each}));
    default:
      return null;
  }
}

/** All cells that share every index with `cell` but the last. */
export const rowOf = (cell, shape) =>
  indices([...cell.slice(0, -1).map((i) => [i, i + 1]), [0, shape[shape.length - 1]]]);

/** What a cell of the input goes into: [{cell (of the output), weight}], or null. */
export function outputs(layer, cell) {
  const {reach, output_shape: shape} = layer;
  const last = cell[cell.length - 1];
  switch (reach.kind) {
    case "window": {
      const filters = reach.channels === "all" ? [0, shape[2]] : [last, last + 1];
      return taps(reach).flatMap(([kh, kw]) => {
        const i = over(reach, 0, cell[0], kh, shape[0]);
        const j = over(reach, 1, cell[1], kw, shape[1]);
        if (i < 0 || j < 0) return [];
        return indices([filters]).map(([f]) => ({
          cell: [i, j, f],
          weight: reach.channels === "all" ? [kh, kw, last, f] : null,
          tap: [kh, kw],
        }));
      });
    }
    case "all":
      return indices(everything(shape)).map((u) => ({cell: u, weight: [...cell, ...u]}));
    case "same":
      return [{cell, weight: [last]}];
    case "reshape":
      return [{cell: unflat(flat(cell, layer.input_shape), shape), weight: null}];
    case "channel":
      return [{cell: [...shape.slice(0, -1).map(() => 0), last], weight: null}];
    case "row":
      return rowOf(cell, shape).map((each) => ({cell: each, weight: null}));
    default:
      return null;
  }
}

/**
 * Where a parameter takes part: [{from (of the input, null in the padding), to (of the output)}],
 * or null if it is not known.
 */
export function uses(layer, name, index) {
  const {reach, output_shape: shape} = layer;
  const last = index[index.length - 1];
  const places = indices([...everything(shape.slice(0, -1)), [last, last + 1]]);
  if (name === "kernel" && reach.kind === "window") {
    const [kh, kw, c] = index;
    return places.map((to) => {
      const from = [under(reach, 0, to[0], kh), under(reach, 1, to[1], kw), c];
      return {from: inside(from, layer.input_shape) ? from : null, to};
    });
  }
  if (name === "kernel" && reach.kind === "all") return [{from: [index[0]], to: [index[1]]}];
  if (index.length !== 1 || layer.custom) return null;
  return places.map((to) => ({from: reach.kind === "same" ? to : null, to}));
}

const span = ([start, stop]) => Array.from({length: stop - start}, (_, i) => start + i);

/** The places on the input, an axis each, that these places of the output are computed from. */
function before(layer, places) {
  const {reach, input_shape: shape} = layer;
  const whole = everything(shape).map(span);
  switch (reach.kind) {
    case "window": {
      const seen = [0, 1].map((axis) => {
        const found = places[axis].flatMap((i) =>
          span([0, reach.size[axis]]).map((k) => under(reach, axis, i, k)));
        return [...new Set(found)].filter((i) => i >= 0 && i < shape[axis]);
      });
      return [...seen, reach.channels === "all" ? whole[2] : places[2]];
    }
    case "same":
      return places;
    case "reshape": {
      if (!places.every((each) => each.length === 1)) return whole;
      return unflat(flat(places.flat(), layer.output_shape), shape).map((i) => [i]);
    }
    case "channel":
      return [...whole.slice(0, 2), places[places.length - 1]];
    case "row":
      return [...places.slice(0, -1), whole[whole.length - 1]];
    default:
      return whole;
  }
}

/**
 * The receptive field of a region of the output of layer `place`: {layer name, "" for the image:
 * region}. Where it sees nothing but padding, the layers before are not among them.
 */
export function field(model, place, region) {
  const layers = layersOf(model);
  const regions = {};
  let places = region.map(span);
  for (let at = place; at >= 0; at--) {
    places = before(layers[at], places);
    if (places.some((each) => !each.length)) break;
    const name = at ? layers[at - 1].name : "";
    regions[name] = places.map((each) => [Math.min(...each), Math.max(...each) + 1]);
  }
  return regions;
}
