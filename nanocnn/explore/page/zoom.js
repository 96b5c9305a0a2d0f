/** The selected map, large: its cells with their numbers, or a filter of the layer. */

import {state} from "nanocnn/state.js";
import {source} from "nanocnn/source.js";
import {short, shape as shapeText, text} from "nanocnn/numbers.js";
import {legend} from "nanocnn/colours.js";
import {
  fit, fromCell, hit, maps, outline, paintGrid, paintNumbers, point, sized, toCell,
} from "nanocnn/grid.js";
import {gradientOf, kindOf, selected} from "nanocnn/columns.js";
import {el} from "nanocnn/widgets.js";

const WIDTH = 560; // of a map that fits the window
const SIZES = [4, 6, 8, 11, 14, 20, 28, 40, 56];
const VECTOR = 1024; // numbers of a vector that are shown
const parts = {};
let size = null; // of a cell, where the reader chose one
let shown = null; // {request, array, grid, toIndex}

/** Build the view and keep it painted. */
export function mount(element) {
  const button = (label, title, onclick) =>
    el("button", {type: "button", title, "aria-label": title, onclick}, label);
  parts.title = el("h2", {id: "zoom-title"});
  parts.views = el("div", {class: "choice", id: "views", role: "group", "aria-label": "Array"});
  parts.tools = el("div", {class: "toolbar"}, parts.views,
    button("−", "Smaller cells", () => enlarge(-1)),
    button("+", "Larger cells", () => enlarge(1)));
  parts.values = el("canvas", {class: "values", id: "zoom-map", tabindex: 0, role: "img"});
  parts.marks = el("canvas", {class: "marks", "aria-hidden": "true"});
  parts.scroll = el("div", {class: "scroll zoomed"},
    el("div", {class: "stack"}, parts.values, parts.marks));
  parts.legend = el("div", {id: "zoom-legend"});
  parts.note = el("p", {class: "note"});
  parts.live = el("p", {id: "selected-value", class: "number", "aria-live": "polite"});
  element.append(parts.title, parts.tools, parts.live, parts.scroll, parts.legend,
    parts.note);
  parts.values.addEventListener("click", select);
  new ResizeObserver(([{contentRect: {width}}]) => { // measuring while painting costs a layout
    if (Math.abs(width - (parts.width || 0)) > 1) {
      parts.width = width;
      paint();
    }
  }).observe(parts.scroll);
  source.watch(() => (plan() ? [plan().request] : []));
  source.on("change", paint);
  state.on(["layer", "cell", "view", "grad"], paint);
  state.on(["weight"], mark);
  paint();
}

/** The views of a layer: arrays of the shape of its output or input, and its parameters. */
function viewsOf({layer}) {
  if (!layer) {
    return ["x"];
  }
  return ["y", ...(layer.activation ? ["z"] : []),
    ...Object.keys(layer.params || {}).map((name) => `param:${name}`)];
}

/** What is to be shown: {request, shape (of the array), channel, view}; null if nothing is. */
function plan() {
  const column = selected();
  if (!column) {
    return null;
  }
  const {layer, index, name} = column;
  const views = viewsOf(column);
  const wanted = layer ? state.get("view") || "y" : "x";
  const view = views.includes(wanted) ? wanted : views[0];
  const grad = Boolean(state.get("grad"));
  const at = fromCell(column.shape, state.cell());
  const channel = at ? at[2] : 0;
  if (view.startsWith("param:")) {
    const param = view.slice(6);
    const shape = layer.params[param];
    const what = grad ? `grad:${param}` : view;
    const last = shape.length - 1;
    const slice = last ? shape.map((n, a) => (a < last ? null : channel)) : null;
    return {column, view, shape, param, channel,
      request: {layer: name, what, ...(slice && {index: slice})}};
  }
  const what = grad ? (layer ? gradientOf(view, index) : "dx") : view;
  const {shape} = column;
  const {h, w, c} = maps(shape);
  const map = Math.min(channel, c - 1);
  const cut = h * w > 1 ? (shape.length === 3 ? [null, null, [map, map + 1]] : null)
    : shape.length === 1 && c > VECTOR ? [windowOf(map, c)] : null;
  return {column, view, shape, channel: map, from: cut?.[0]?.[0] ?? 0,
    request: {layer: layer ? name : null, what, ...(cut && {index: cut})}};
}

/** The part of a long vector that holds number k. */
function windowOf(k, n) {
  const start = Math.floor(k / VECTOR) * VECTOR;
  return [start, Math.min(n, start + VECTOR)];
}

async function paint() {
  const wanted = plan();
  if (!wanted) {
    return;
  }
  showViews(wanted);
  const turn = parts.turn = {};
  let array;
  try {
    array = await source.array(wanted.request);
  } catch (error) {
    parts.live.textContent = error.message;
    return;
  }
  if (parts.turn !== turn) {
    return;
  }
  if (array.missing) {
    parts.live.textContent = array.missing;
    return;
  }
  const grid = gridOf(wanted, array.shape);
  const kind = kindOf(wanted.column, wanted.request.what, array.whole);
  shown = {...wanted, array, grid};
  paintGrid(parts.values, array, grid, array.whole, kind);
  if (grid.cell >= 6) {
    paintNumbers(parts.values, array, grid, array.whole, kind);
  }
  parts.values.dataset.version = source.info.version;
  Object.assign(parts.values.dataset, {
    shown: wanted.column.name, what: wanted.request.what, size: grid.cell, h: grid.h, w: grid.w,
    gap: grid.gap, across: grid.columns, channel: wanted.channel,
  });
  legend(parts.legend, array.whole, {kind});
  parts.note.textContent = state.get("grad") ? "Orange: a little more here raises the loss. "
    + "Blue: it lowers the loss." : "";
  mark();
}

/** One map; a filter's maps (h, w, c) or numbers beside each other; a vector in rows. */
function gridOf({shape, param}, arrayShape) {
  const {h, w, c} = maps(arrayShape);
  const available = Math.min(WIDTH, parts.width || WIDTH);
  const isMap = h * w > 1;
  const columns = isMap ? Math.min(c, param ? Math.ceil(Math.sqrt(c * 1.2)) : c)
    : Math.min(c, shape.length === 1 && c <= 12 ? 1 : c > 256 ? 32 : 10);
  const gap = isMap ? 6 : 1;
  const room = Math.floor((available - gap * (columns - 1)) / (columns * w));
  const most = isMap ? (param ? 44 : 48) : 44;
  const cell = size ?? Math.max(isMap ? 3 : 8, Math.min(most, room));
  return sized({h, w, count: c, cell, gap, columns});
}

function enlarge(direction) {
  const now = shown ? shown.grid.cell : 20;
  const next = direction > 0 ? SIZES.find((s) => s > now) : SIZES.findLast((s) => s < now);
  if (next) {
    size = next;
    paint();
  }
}

function showViews({column, view, shape, request, channel}) {
  const {layer, name} = column;
  const about = title(column, view, request.what, shape, channel);
  parts.title.textContent = `${name || "input"}: ${about}`;
  const views = viewsOf(column);
  const key = `${name}:${views.join()}`;
  if (parts.views.dataset.key !== key) {
    parts.views.dataset.key = key;
    parts.views.replaceChildren(...views.map((each) => {
      const label = each.startsWith("param:") ? each.slice(6) : LABELS[each];
      const onclick = () => state.set({view: each, weight: null}, {push: true});
      return el("button", {type: "button", "data-view": each, onclick}, label);
    }));
  }
  for (const button of parts.views.children) {
    button.setAttribute("aria-pressed", button.dataset.view === view);
  }
  parts.views.hidden = !layer;
}

const LABELS = {y: "output y", z: "sum z"};

function title({layer}, view, what, shape, channel) {
  const {h, w, c} = maps(shape);
  if (view.startsWith("param:")) {
    const name = what.replace(/^param:/, "").replace(/^grad:/, "d");
    const unit = layer.reach.kind === "all" ? "unit" : "filter";
    return shape.length > 1 ? `${name} of ${unit} ${channel}` : name;
  }
  return h * w > 1 && c > 1 ? `${what}, map ${channel} of ${c}` : `${what}, ${shapeText(shape)}`;
}

/** The coordinates in the array's full shape of [i, j, m] in the grid. */
function toIndex([i, j, m]) {
  const {param, shape, channel, from} = shown;
  if (!param) {
    const {h, w} = maps(shape);
    return toCell(shape, h * w > 1 ? [i, j, channel] : [0, 0, m + from]);
  }
  if (shape.length === 4) {
    return [i, j, m, channel];
  }
  return shape.length === 2 ? [m, channel] : toCell(shape, [i, j, m]);
}

function select(event) {
  const found = shown && hit(shown.grid, ...point(parts.values, event));
  if (!found) {
    return;
  }
  const index = toIndex(found);
  if (shown.param) {
    state.set({weight: `${shown.param}:${index.join(",")}`, panel: "cell"}, {push: true});
  } else {
    state.set({cell: index.join(","), weight: null}, {push: true});
  }
}

/** Outline the cell or the weight that is selected and say its number. */
function mark() {
  if (!shown) {
    return;
  }
  const {grid, array, param, shape, channel, from} = shown;
  const context = fit(parts.marks, grid);
  context.clearRect(0, 0, grid.width, grid.height);
  parts.live.textContent = "";
  const [name, index] = (state.get("weight") || ":").split(":");
  let at = null;
  if (param) {
    const place = name === param && index ? index.split(",").map(Number) : null;
    at = place && (shape.length === 4 ? place.slice(0, 3) : [0, 0, place[0]]);
    at = at || (shape.length === 1 ? [0, 0, channel] : null);
  } else {
    const cell = fromCell(shape, state.cell());
    at = cell && (grid.h * grid.w > 1 ? [cell[0], cell[1], 0] : [0, 0, cell[2] - from]);
  }
  if (at && at[0] < grid.h && at[1] < grid.w && at[2] < grid.count) {
    outline(context, grid, at[2], [at[0], at[1], at[0] + 1, at[1] + 1], {width: 2});
    const v = array.data[(at[0] * grid.w + at[1]) * maps(array.shape).c + at[2]];
    const place = toIndex(at).join(", ");
    const what = shown.request.what.replace("param:", "").replace("grad:", "d");
    parts.live.textContent = `${what}[${place}] = ${text(v, array.dtype)}`;
    parts.live.dataset.value = text(v, array.dtype);
    if (parts.followed !== place) {
      parts.followed = place;
      follow(grid, at);
    }
  }
  const [low, high] = array.whole;
  parts.values.setAttribute("aria-label", `${parts.title.textContent}, from ${short(low)} to `
    + `${short(high)}. ${parts.live.textContent} Arrow keys move.`);
}

/** Keep the selected cell inside of the scrolled part. */
function follow(grid, [i, j, m]) {
  const {scroll} = parts;
  const y = Math.floor(m / grid.columns) * (grid.h * grid.cell + grid.gap) + i * grid.cell;
  const x = (m % grid.columns) * (grid.w * grid.cell + grid.gap) + j * grid.cell;
  if (y < scroll.scrollTop || y + grid.cell > scroll.scrollTop + scroll.clientHeight) {
    scroll.scrollTop = y - scroll.clientHeight / 2;
  }
  if (x < scroll.scrollLeft || x + grid.cell > scroll.scrollLeft + scroll.clientWidth) {
    scroll.scrollLeft = x - scroll.clientWidth / 2;
  }
}

/** How many cells a row has: for the arrow keys in vectors. */
export function perRow() {
  return shown && shown.grid.h * shown.grid.w === 1 ? shown.grid.columns : 1;
}

/** Whether a filter or another parameter is shown: arrow keys then move the weight. */
export function moveWeight(rows, across) {
  if (!shown?.param) {
    return false;
  }
  const {param, grid, shape} = shown;
  const [name, index] = (state.get("weight") || ":").split(":");
  const place = name === param && index ? index.split(",").map(Number) : shape.map(() => 0);
  const at = shape.length === 4 ? place.slice(0, 3) : [0, 0, place[0]];
  const flat = grid.h * grid.w === 1;
  const next = flat ? [0, 0, at[2] + rows * grid.columns + across]
    : [at[0] + rows, at[1] + across, at[2]];
  if (next[0] >= 0 && next[0] < grid.h && next[1] >= 0 && next[1] < grid.w
    && next[2] >= 0 && next[2] < grid.count) {
    state.set({weight: `${param}:${toIndex(next).join(",")}`});
  }
  return true;
}
