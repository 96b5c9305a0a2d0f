/** What the texts of the tours are made of: places in any model, and its numbers in sentences. */

import {state} from "nanocnn/state.js";
import {source} from "nanocnn/source.js";
import {count as commas, short, text} from "nanocnn/numbers.js";
import {layersOf, size, unflat} from "nanocnn/reach.js";
import {jump, p} from "nanocnn/terms.js";
import {el} from "nanocnn/widgets.js";

export const layers = () => layersOf(source.model);

/** The first layer of which this is true, or undefined. */
export const first = (test) => layers().find(test);

export const isConv = ({operation, custom, reach}) =>
  operation === "conv2d" && !custom && reach.kind === "window";
export const isDense = ({operation, custom, reach}) =>
  operation === "dense" && !custom && reach.kind === "all";

/** The layer before, or null for the input. */
export const before = (layer) => layers()[layers().indexOf(layer) - 1] ?? null;
export const after = (layer) => layers()[layers().indexOf(layer) + 1] ?? null;
export const shapeOf = (layer) => (layer ? layer.output_shape : source.model.input.shape);
export const nameOf = (layer) => el("strong", {}, layer ? layer.name : "input");

/** An array of a layer (null: the input), or the part that an index names. */
export async function numbers(layer, what, index = null) {
  const request = {layer: layer?.name ?? null, what};
  const {data} = await source.array(index ? {...request, index} : request);
  return data;
}

/** The output of a layer, or the input. */
export const output = (layer) => numbers(layer, layer ? "y" : "x");

/** The index of the largest of `score` of an array's numbers. */
export function peak(data, shape, score = Math.abs) {
  let best = 0;
  for (let k = 1; k < data.length; k++) {
    best = score(data[k], k) > score(data[best], best) ? k : best;
  }
  return unflat(best, shape);
}

/** The cell of a layer's output that stands out most. */
export const strongest = async (layer) => peak(await output(layer), shapeOf(layer));

/** The state that shows a cell of a layer's output, or of the input. */
export const at = (layer, cell, more = {}) =>
  ({layer: layer?.name ?? "", cell: cell.join(","), view: "y", ...more});

/** A link to a cell. */
export const link = (layer, cell, words = `[${cell.join(",")}]`) =>
  el("span", {onclick: follow}, jump(at(layer, cell, {panel: "cell", weight: null}), words));

function follow(event) {
  const target = event.target.closest("[data-go]");
  if (target) {
    state.set(JSON.parse(target.dataset.go), {push: true});
  }
}

export {p};
export const code = (words) => el("code", {}, words);

/** A number, rounded; its title has all digits. */
export const about = (v, digits = 3) =>
  el("span", {class: "number", title: text(v, source.model.dtype)}, short(v, digits));

/** A number of the trace, with all its digits. */
export const full = (v) => el("span", {class: "number"}, text(v, source.model.dtype));

/** How many: 1,234. */
export const many = (v) => commas(v);
export const sizes = (shape) => shape.join("\u00a0×\u00a0");
export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}\u00a0%`;
export const place = (cell) => `[${cell.join(",")}]`;
export const total = size;

/** The cell that the state says, if it is one of this shape; else null. */
export function cellOf(shape) {
  const cell = state.cell();
  const fits = cell && cell.length === shape.length && cell.every((i, a) => i >= 0 && i < shape[a]);
  return fits ? cell : null;
}

/** A table of rows; the first one are its heads. */
export function table([heads, ...rows], caption = null) {
  return el("div", {class: "scroll"}, el("table", {},
    caption && el("caption", {class: "note"}, caption),
    el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", {scope: "col"}, head)))),
    el("tbody", {}, ...rows.map(([head, ...cells]) => el("tr", {},
      el("th", {scope: "row"}, head), ...cells.map((cell) => el("td", {}, cell)))))));
}

/** Why a tour that asks the server for more than arrays cannot be shown, or "". */
export const needsServer = () => (source.static
  ? "Not in a saved page: it needs nanocnn explore running." : "");
