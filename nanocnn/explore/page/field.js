/** Receptive fields: what a cell is computed from, in every layer before it and in the input. */

import {fromCell, maps, unravel, toCell} from "nanocnn/grid.js";

/**
 * The fields of `cell` of layer number `index`: a list for the outputs of layers index - 1, ..., 0
 * and last the model's input, of {box: [top, left, bottom, right], channel: number, or null for
 * all}; it ends where a layer says not what it reads.
 */
export function fields(layers, index, cell) {
  const shape = layers[index].output_shape;
  const at = fromCell(shape, cell);
  if (!at) {
    return [];
  }
  let field = {box: [at[0], at[1], at[0] + 1, at[1] + 1], channel: at[2], cell};
  const found = [];
  for (let i = index; i >= 0 && field; i--) {
    field = before(layers[i], field);
    if (field) {
      found.push(field);
    }
  }
  return found;
}

/** The part of a layer's input that a part of its output is computed from. */
function before(layer, {box, channel, cell}) {
  const {kind, size, strides, start, channels} = layer.reach || {kind: "unknown"};
  const {h, w} = maps(layer.input_shape);
  const all = {box: [0, 0, h, w], channel: null, cell: null};
  if (kind === "window") {
    const low = [0, 1].map((a) => box[a] * strides[a] + start[a]);
    const high = [0, 1].map((a) => (box[a + 2] - 1) * strides[a] + start[a] + size[a]);
    return {
      box: [...low.map((v) => Math.max(0, v)), Math.min(h, high[0]), Math.min(w, high[1])],
      channel: channels === "all" ? null : channel, cell: null,
    };
  }
  if (kind === "same") {
    return {box, channel, cell};
  }
  if (kind === "reshape") {
    return cell ? reshaped(layer, cell) : all;
  }
  if (kind === "channel") {
    return {...all, channel};
  }
  if (kind === "row") {
    return {box, channel: null, cell: null};
  }
  return kind === "all" ? all : null;
}

function reshaped({output_shape: to, input_shape: from}, cell) {
  const flat = cell.reduce((sum, v, axis) => sum * to[axis] + v, 0);
  const at = unravel(flat, from);
  const [i, j, m] = fromCell(from, at);
  return {box: [i, j, i + 1, j + 1], channel: m, cell: toCell(from, [i, j, m])};
}
