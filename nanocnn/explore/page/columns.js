/** The columns of the network, the input and a layer each, and the choice of a layer and a cell. */

import {state} from "nanocnn/state.js";
import {source} from "nanocnn/source.js";
import {fromCell, maps, side, toCell} from "nanocnn/grid.js";

const FEW = 16384; // numbers that a column of maps shows at first;
const MAPS = 24; // so many maps are shown all,
const FIRST = 16; // else these; of a long vector:
const CELLS = 1024;
let list = null;
let aim = null; // the column whose cell is being chosen

/** [{name ("" for the input), layer (description or null), index, shape, count, total}, ...] */
export function columns() {
  list ??= [column(null, -1), ...source.model.layers.map(column)];
  return list;
}

function column(layer, index) {
  const shape = layer ? layer.output_shape : source.model.input.shape;
  const {h, w, c} = maps(shape);
  const some = c <= MAPS ? c : FIRST;
  const first = h * w > 1 ? Math.min(some, Math.max(1, Math.floor(FEW / (h * w)))) : CELLS;
  return {name: layer ? layer.name : "", layer, index, shape, total: c, count: Math.min(c, first)};
}

/** The column that is selected, or undefined. */
export function selected() {
  const name = state.get("layer");
  return name === null ? undefined : columns().find((column) => column.name === name);
}

/** What a column shows: its output or its gradient (of the input, x). */
export function shows({layer, index}) {
  if (!layer) {
    return state.get("grad") ? "dx" : "x";
  }
  return state.get("grad") ? gradientOf("y", index) : "y";
}

/** dy; of a last layer that is one operation with the loss there is only dz. */
export function gradientOf(view, index) {
  const isFused = source.model.loss?.fused && index === source.model.layers.length - 1;
  return view === "y" && !isFused ? "dy" : view === "x" ? "dx" : "dz";
}

/** The array request of a column's numbers. */
export function request(column) {
  const {shape, count, total} = column;
  const axis = shape.length === 3 ? 2 : shape.length === 1 ? 0 : -1;
  const asked = {layer: column.layer ? column.name : null, what: shows(column)};
  if (count < total && axis >= 0) {
    asked.index = shape.map((n, a) => (a === axis ? [0, count] : null));
  }
  return asked;
}

/** Images, also moved and turned ones, are ink on paper, all else has colours around 0. */
export function kindOf({layer, total, shape}, what, whole) {
  const isImage = layer ? layer.random && !layer.rate && what === "y" : what === "x";
  const isGrey = total === 1 || (!layer && side(shape) > 0);
  return isImage && isGrey && whole[0] >= 0 ? "image" : "diverging";
}

/** Select a column, and its cell that stands out most (in this channel, if one is given). */
export async function choose(column, {channel = null, push = true, view = null} = {}) {
  const now = () => `${state.get("layer")} ${state.get("cell")}`;
  const before = now();
  aim = column;
  const array = await source.array(request(column)).catch(() => null);
  if (aim === column && now() === before) { // else the reader went on
    const cell = array && !array.missing ? strongest(column, array, channel).join(",") : null;
    state.set({layer: column.name, cell, weight: null, view}, {push});
  }
  aim = aim === column ? null : aim;
}

/** The cell with the number farthest from 0. */
function strongest(column, {data, shape}, channel) {
  const {w, c} = maps(shape);
  let best = channel !== null && channel < c ? channel : 0;
  for (let k = best; k < data.length; k += channel === null ? 1 : c) {
    best = Math.abs(data[k]) > Math.abs(data[best]) ? k : best;
  }
  const position = Math.floor(best / c);
  return toCell(column.shape, [Math.floor(position / w), position % w, best % c]);
}

/** The layer `move` columns on; the first one if none is selected. */
export function moveLayer(move) {
  const all = columns();
  const now = aim || selected();
  const next = now ? now.index + 1 + move : 1;
  if (next >= 0 && next < all.length) {
    choose(all[next]);
  }
}

/** Move the cell by rows and columns; in a vector, all steps along it. */
export function moveCell(rows, across, perRow = 1) {
  const column = selected();
  const at = column && fromCell(column.shape, state.cell());
  if (!at) {
    return;
  }
  const {h, w, c} = maps(column.shape);
  const next = h * w > 1
    ? [clamp(at[0] + rows, h), clamp(at[1] + across, w), at[2]]
    : [0, 0, clamp(at[2] + rows * perRow + across, c)];
  state.set({cell: toCell(column.shape, next).join(","), weight: null});
}

/** The same cell of another channel. */
export function moveChannel(move) {
  const column = selected();
  const at = column && fromCell(column.shape, state.cell());
  if (at) {
    const next = [at[0], at[1], (at[2] + move + column.total) % column.total];
    state.set({cell: toCell(column.shape, next).join(","), weight: null});
  }
}

const clamp = (v, n) => Math.min(n - 1, Math.max(0, v));
