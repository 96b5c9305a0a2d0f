/**
 * The pass as a walk: image, layer by layer to the loss, and the gradients back to the image. Each
 * position is {layer, grad, view}; the cell follows where the largest number is.
 */

import {state} from "nanocnn/state.js";
import {source} from "nanocnn/source.js";
import {isFused} from "nanocnn/activations.js";
import {everything, indices, inputs, layersOf, outputs, parse, size} from "nanocnn/reach.js";
import {read} from "nanocnn/terms.js";

const MOST = 1 << 18; // numbers of an array that is searched for its largest
const trail = new Map(); // the cell of each position, as long as the reader walks
let steps = Promise.resolve();

/** Shape of what position `place` holds: a layer's output, or the image at -1. */
export const shapeAt = (place) =>
  (place < 0 ? source.model.input.shape : layersOf(source.model)[place].output_shape);

/** Every position of the pass, in order. */
export function positions() {
  const layers = layersOf(source.model);
  const places = [-1, ...layers.keys()];
  return [
    ...places.map((place) => ({place, back: false})),
    {place: layers.length - 1, back: false, loss: true},
    ...places.reverse().map((place) => ({place, back: true})),
  ];
}

/** Where the reader stands: {place, back, loss}, or null if nothing is chosen. */
export function here() {
  const name = state.get("layer");
  if (name === null) return null;
  const layers = layersOf(source.model);
  let place = name === "" ? -1 : layers.findIndex((layer) => layer.name === name);
  if (place < 0 && name !== "") return null;
  const view = state.what();
  if (place >= 0 && (view === "x" || view === "dx")) place -= 1; // the input: the output before
  return {place, back: /^d|^grad:/.test(view), loss: state.get("view") === "loss"};
}

/** The chosen cell as an index of what `here()` holds, or null. */
export const cellHere = (place) => parse(state.get("cell"), shapeAt(place));

const same = (a, b) => a.place === b.place && a.back === b.back && !a.loss === !b.loss;

/** The array that holds the numbers of a position. */
function numbers({place, back}) {
  const layer = layersOf(source.model)[place] ?? null;
  const what = back ? (layer ? (isFused(layer) ? "dz" : "dy") : "dx") : layer ? "y" : "x";
  return {layer, what, shape: shapeAt(place)};
}

/** The cell with the largest number among `cells` of a position (null: all of them). */
export async function strongest(position, cells) {
  const {layer, what, shape} = numbers(position);
  if (!cells && size(shape) > MOST) return shape.map(() => 0);
  const of = await read(layer, what, shape, cells);
  const all = cells ?? indices(everything(shape));
  return all.reduce((best, cell) => (Math.abs(of(cell)) > Math.abs(of(best)) ? cell : best));
}

/** The cells of `to` that are connected with a cell of `from`, or null for all. */
function neighbours(from, to, cell) {
  const layers = layersOf(source.model);
  if (to.place === from.place || !cell) return cell && [cell];
  const found = to.place > from.place
    ? outputs(layers[to.place], cell)
    : inputs(layers[from.place], cell);
  const cells = (found ?? []).map((each) => each.cell).filter(Boolean);
  return cells.length ? cells : null;
}

async function move(by) {
  const all = positions();
  const now = here();
  const at = now ? all.findIndex((each) => same(each, now)) : by > 0 ? -1 : all.length;
  const to = all[at + by];
  if (!to) return;
  const cell = now && cellHere(now.place);
  if (trail.get(at)?.join() !== cell?.join()) trail.clear(); // the reader chose another cell
  const chosen = trail.get(at + by)
    ?? await strongest(to, now ? neighbours(now, to, cell) : null);
  if (cell) trail.set(at, cell);
  trail.set(at + by, chosen);
  const layer = layersOf(source.model)[to.place]?.name ?? "";
  state.set({
    layer, view: to.loss ? "loss" : "y", grad: to.back ? "1" : null, cell: chosen.join(","),
    weight: null, panel: "cell",
  }, {push: true});
}

/** One step on along the pass; steps wait for each other. */
export const stepForward = () => (steps = steps.then(() => move(1)).catch(() => {}));

/** One step back. */
export const stepBackward = () => (steps = steps.then(() => move(-1)).catch(() => {}));
