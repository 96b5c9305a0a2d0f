/** Numbers of a trace as elements: marked with where they stand, as links, in sums and tables. */

import {count, short, text} from "nanocnn/numbers.js";
import {around, everything, flat, layersOf, size} from "nanocnn/reach.js";
import {source} from "nanocnn/source.js";
import {el} from "nanocnn/widgets.js";

const FEW = {channels: 3, rows: 8};
const SHORT = 12; // rows of a table that is not folded
const MOST_ROWS = 2000;

/** [3,4,7] as text; a cell of the padding has no index. */
export const at = (index) => (index ? `[${index.join(",")}]` : "padding");

/** The layer before this one, or null for the first. */
export function previous(layer) {
  const layers = layersOf(source.model);
  return layers[layers.findIndex(({name}) => name === layer.name) - 1] ?? null;
}

/**
 * Reads an array of the trace: index -> number, for the cells given (null: all of it). Only the
 * smallest block that holds them travels.
 */
export async function read(layer, what, shape, cells = null) {
  const region = cells ? around(cells, shape) : everything(shape);
  const whole = region.every(([start, stop], axis) => start === 0 && stop === shape[axis]);
  const {data} = await source.array({
    layer: layer?.name ?? null, what, ...(whole ? {} : {index: region}),
  });
  const block = region.map(([start, stop]) => stop - start);
  return (index) => {
    if (!index) return 0; // the padding
    return data[flat(index.map((i, axis) => i - region[axis][0]), block)];
  };
}

/** Reads the whole of a small array as a list. */
export async function list(layer, what, shape) {
  const {data} = await source.array({layer: layer?.name ?? null, what});
  return Array.from({length: size(shape)}, (_, i) => data[i]);
}

/** The number in full as text: the shortest decimal that is this float. */
export const full = (number) => text(number, source.model.dtype);

function marks(number, what, layer, index) {
  return {
    class: "number", "data-what": what, "data-layer": layer?.name ?? "",
    "data-index": index.join(","), "data-value": full(number),
  };
}

/** A number of the trace, in full. */
export const exact = (number, what, layer, index) =>
  el("span", marks(number, what, layer, index), full(number));

/** A number of the trace, rounded for a tight place; its title is the full one. */
export const brief = (number, what, layer, index) =>
  el("span", {...marks(number, what, layer, index), title: full(number)}, short(number, 3));

/** A product, a sum: not a number of the trace, so it is rounded. */
export const about = (number, digits = 4) =>
  el("span", {class: "number derived"},
    Number.isInteger(number) ? String(number) : short(number, digits));

/** A button that goes to a place: `change` is what it sets in the state. */
export const jump = (change, ...children) =>
  el("button", {type: "button", class: "jump", "data-go": JSON.stringify(change)}, ...children);

/** The state that shows a cell of a layer's output (of the image, where layer is null). */
export const cellState = (layer, cell) => ({
  layer: layer?.name ?? "", cell: cell.join(","), view: "y", weight: null,
});

/** The state that shows a weight. */
export const weightState = (layer, name, index) => ({
  layer: layer.name, weight: `${name}:${index.join(",")}`,
});

/** A link to the cell of a layer's input that lies at this index, or the word padding. */
export function cellLink(layer, cell, child = at(cell)) {
  return cell ? jump(cellState(layer, cell), child) : el("span", {class: "quiet"}, "padding");
}

/** Lines of a calculation: [words, number element], the last one stands out. */
export function ledger(...rows) {
  const lines = rows.filter(Boolean).map(([words, number]) =>
    el("tr", {}, el("th", {scope: "row"}, ...[words].flat()), el("td", {}, number)));
  return el("table", {class: "ledger"}, el("tbody", {}, ...lines));
}

/** A formula, as the trace prints it. */
export const formula = (...children) => el("p", {class: "formula"}, ...children);

/** A paragraph. */
export const p = (...children) => el("p", {}, ...children);

/** A heading within the panel. */
export const heading = (words) => el("h3", {}, words);

/**
 * Something long, folded: `make(all)` gives its element, with `most` of `n` things or the largest
 * `shown`. Unfolding makes it only then.
 */
export function folded(make, shown, n, things, most = n) {
  const holder = el("div", {class: "folded"}, make(false));
  if (n <= shown) return holder;
  const toggle = el("button", {type: "button", class: "more", "aria-expanded": "false"});
  const all = n > most ? `the first ${count(most)} of ${count(n)}` : `all ${count(n)}`;
  const label = (open) => `${open ? `the largest ${shown}` : all} ${things}`;
  toggle.textContent = label(false);
  toggle.addEventListener("click", () => {
    const open = toggle.getAttribute("aria-expanded") !== "true";
    toggle.setAttribute("aria-expanded", String(open));
    toggle.textContent = label(open);
    holder.replaceChild(make(open), holder.firstChild);
  });
  holder.append(toggle);
  return holder;
}

/** The strength of a term's colour, from 0 to 1, and its sign. */
function tint(element, product, most) {
  element.classList.add(product < 0 ? "negative" : "positive");
  const strength = most > 0 && Number.isFinite(product) ? Math.abs(product) / most : 0;
  element.style.setProperty("--strength", `${Math.round(100 * strength)}%`);
  return element;
}

/** The largest |product| of terms. */
export const largest = (terms) =>
  terms.reduce((most, {product}) => Math.max(most, Math.abs(product) || 0), 0);

/** The sum of the products, for the eye: the kernels add in another order and precision. */
export const total = (terms) => terms.reduce((sum, {product}) => sum + product, 0);

/**
 * A table of terms, the largest first, folded. A term: {label(), parts() -> [elements], product};
 * with `result()` in place of the product's rounded number. `heads` are the columns' names.
 */
export function termTable(terms, heads, caption) {
  const size = (product) => (Number.isNaN(product) ? Infinity : Math.abs(product));
  const sorted = [...terms].sort((a, b) => size(b.product) - size(a.product));
  const most = largest(terms);
  const shown = terms.length <= SHORT ? terms.length : FEW.rows;
  const row = ({label, parts, product, result}) =>
    el("tr", {}, el("th", {scope: "row"}, label()), ...parts().map((part) => el("td", {}, part)),
      tint(el("td", {}, result ? result() : about(product)), product, most));
  const make = (all) => {
    const rows = sorted.slice(0, all ? MOST_ROWS : shown).map(row);
    return el("div", {class: "scroll"},
      el("table", {class: "terms"}, el("caption", {}, caption),
        el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", {scope: "col"}, head)))),
        el("tbody", {}, ...rows)));
  };
  return folded(make, shown, terms.length, "terms", MOST_ROWS);
}

/**
 * A convolution's terms as one kh x kw grid of x, w and x*w a channel, the heaviest channels first.
 * A term: {tap: [kh, kw, c], tight: () -> [x element, w element], product}.
 */
export function grids(terms, [height, width]) {
  const most = largest(terms);
  const channels = new Map();
  for (const term of terms) {
    const c = term.tap[2];
    if (!channels.has(c)) channels.set(c, []);
    channels.get(c).push(term);
  }
  const weight = (list) => list.reduce((sum, {product}) => sum + (Math.abs(product) || 0), 0);
  const sorted = [...channels].sort(([, a], [, b]) => weight(b) - weight(a));
  const cell = ({tight, product}) => {
    const [x, w] = tight();
    return tint(el("td", {}, el("div", {}, x), el("div", {}, "× ", w),
      el("div", {}, "= ", about(product, 3))), product, most);
  };
  const grid = ([c, list]) => {
    const rows = Array.from({length: height}, (_, kh) =>
      el("tr", {}, ...list.slice(kh * width, (kh + 1) * width).map(cell)));
    return el("figure", {class: "grid"},
      el("figcaption", {}, `channel ${c}, sum `, about(total(list))),
      el("div", {class: "scroll"}, el("table", {
        "aria-label": `channel ${c}: x times weight at each of ${height} by ${width} taps`,
      }, el("tbody", {}, ...rows))));
  };
  const make = (all) =>
    el("div", {}, ...sorted.slice(0, all ? sorted.length : FEW.channels).map(grid));
  return folded(make, FEW.channels, sorted.length, "channels");
}

const sources = new Map();
let open = true; // as the reader left the last one

/** Function, file and line of a reference kernel, and its text, which can be folded. */
export function sourceText(where) {
  if (!where?.function) return null;
  const pre = el("pre", {
    tabindex: "0", role: "region", "aria-label": `source of ${where.function}`,
  });
  const title = `${where.function}, ${where.file ?? "reference.py"}:${where.line ?? ""}`;
  const details = el("details", {class: "source"}, el("summary", {}, title), pre);
  const load = async () => {
    if (!sources.has(where.function)) {
      sources.set(where.function, source.call("source", {function: where.function}));
    }
    try {
      pre.textContent = (await sources.get(where.function)).text;
    } catch (error) {
      sources.delete(where.function);
      if (source.static) details.replaceWith(p(title));
      else pre.textContent = error.message;
    }
  };
  details.addEventListener("toggle", () => {
    open = details.open;
    if (open) load();
  });
  details.open = open; // fires toggle
  return details;
}
