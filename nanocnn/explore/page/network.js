/** The network: a column a layer, its maps on one canvas, the receptive field drawn over them. */

import {state} from "nanocnn/state.js";
import {source} from "nanocnn/source.js";
import {count, shape as shapeText, short, text} from "nanocnn/numbers.js";
import {legend} from "nanocnn/colours.js";
import {
  columnLayout, fit, fromCell, hit, maps, outline, paintGrid, point, side, sized, toCell,
} from "nanocnn/grid.js";
import {choose, columns, kindOf, request, selected, shows} from "nanocnn/columns.js";
import {around, field, outputs} from "nanocnn/reach.js";
import {el} from "nanocnn/widgets.js";
import {say} from "nanocnn/message.js";

// Of the maps of all columns, in CSS pixels: the first one with which they fit beside each other.
const SIZES = [
  {scale: 2, height: 380}, {scale: 1.5, height: 300}, {scale: 1.5, height: 412},
  {scale: 1, height: 240}, {scale: 1, height: 300}, {scale: 1, height: 355},
  {scale: 1, height: 412},
];
let size = SIZES.at(-1);
let scroller = null;
const views = new Map(); // column -> its elements
let readout = null;

/** Build the columns and keep them painted; done when a cell is chosen. */
export async function mount(element) {
  readout = el("p", {id: "readout", class: "note"});
  scroller = el("div", {class: "columns"}, ...columns().map(build));
  element.append(scroller, readout);
  fitWidth();
  const watcher = new IntersectionObserver(appear, {root: scroller, rootMargin: "0px 300px"});
  views.forEach(({box}) => watcher.observe(box));
  source.watch(() => visible().map(request));
  source.on("change", paintAll);
  state.on(["grad"], paintAll);
  state.on(["layer", "cell", "grad"], mark);
  state.on(["layer"], reveal);
  mark();
  reveal();
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) {
      width = innerWidth;
      fitWidth();
      paintAll();
      mark();
    }
  });
  if (!selected()) {
    const first = columns().find(({layer}) => layer?.count) || columns().at(-1);
    await choose(first, {push: false});
  } else if (!fromCell(selected().shape, state.cell()) && !state.get("weight")) {
    await choose(selected(), {push: false, view: state.get("view")});
  }
}

/** Choose the size with which all columns fit into the window, or the narrowest. */
function fitWidth() {
  for (size of SIZES) {
    columns().forEach(arrange);
    if (scroller.scrollWidth <= scroller.clientWidth) {
      return;
    }
  }
}

const visible = () => columns().filter((column) => views.get(column)?.visible);

function appear(entries) {
  for (const {target, isIntersecting} of entries) {
    const column = columns()[Number(target.dataset.index) + 1];
    const view = views.get(column);
    view.visible = isIntersecting;
    if (isIntersecting) {
      paint(column);
    }
  }
}

function build(column) {
  const {layer, name, index} = column;
  const title = el("button", {type: "button", class: "title"}, name || "input");
  title.addEventListener("click", () => choose(column));
  const values = el("canvas", {class: "values", tabindex: 0, role: "img"});
  const marks = el("canvas", {class: "marks", "aria-hidden": "true"});
  const stack = el("div", {class: "stack"}, values, marks);
  const box = el("section", {class: "column", "data-layer": name, "data-index": index}, title,
    el("p", {class: "about"}, about(column)), stack);
  box.setAttribute("aria-label", `Layer ${name || "input"}`);
  values.dataset.layer = name;
  const view = {box, title, values, marks, visible: false, whole: []};
  if (layer && index === source.model.layers.length - 1 && column.total <= 20) {
    names(stack, column);
  }
  if (column.count < column.total) {
    box.append(more(column));
  }
  views.set(column, view);
  listen(column, values);
  return box;
}

/** "Conv2D relu, 28 × 28 × 20, 520 parameters" */
function about({layer, shape}) {
  const own = source.session.can_draw ? "digit" : "sample";
  const kind = layer ? [layer.kind, layer.activation].filter(Boolean).join(" ") : own;
  const sizes = shapeText(shape).replaceAll(" ", "\u00a0");
  const lines = [kind, sizes, layer?.count ? `${count(layer.count)} parameters` : ""];
  return lines.filter(Boolean).join("\n");
}

/** The class names beside the cells of the last layer. */
function names(stack, {total}) {
  const {labels = []} = source.session;
  const list = el("ol", {class: "names"},
    ...Array.from({length: total}, (_, k) => el("li", {}, labels[k] ?? String(k))));
  list.setAttribute("aria-hidden", "true");
  stack.append(list);
}

/** The button that shows all maps of a column, and the first ones again. */
function more(column) {
  const first = column.count;
  const button = el("button", {type: "button", class: "more"});
  const label = () => {
    const isAll = column.count === column.total;
    button.textContent = isAll ? `first ${count(first)}` : `all ${count(column.total)}`;
    button.setAttribute("aria-expanded", isAll);
  };
  button.addEventListener("click", () => {
    column.count = column.count === column.total ? first : column.total;
    label();
    arrange(column);
    paint(column);
    mark();
  });
  label();
  return button;
}

/** Lay out a column's canvases; their geometry is in data attributes too. */
function arrange(column) {
  const view = views.get(column);
  const across = column.layer ? 0 : side(column.shape);
  view.grid = across
    ? sized({h: 1, w: 1, count: column.count, cell: 4 * size.scale, gap: 0, columns: across})
    : columnLayout(column.shape, column.count, size);
  fit(view.values, view.grid);
  fit(view.marks, view.grid);
  const {h, w, cell, gap, columns: perRow, count: shown} = view.grid;
  view.box.style.setProperty("--row", `${cell + gap}px`);
  Object.assign(view.values.dataset, {h, w, size: cell, gap, across: perRow, count: shown});
}

function listen(column, canvas) {
  const under = (event) => hit(views.get(column).grid, ...point(canvas, event));
  canvas.addEventListener("click", (event) => {
    const found = under(event);
    if (found) {
      const cell = toCell(column.shape, found).join(",");
      state.set({layer: column.name, cell, weight: null, view: null}, {push: true});
    }
  });
  canvas.addEventListener("pointermove", (event) => {
    const [found, {array}] = [under(event), views.get(column)];
    if (found && array) {
      const v = at(array, found);
      const where = toCell(column.shape, found).join(", ");
      readout.textContent =
        `${column.name || "input"} ${shows(column)}[${where}] = ${text(v, array.dtype)}`;
    }
  });
  canvas.addEventListener("pointerleave", () => {
    readout.textContent = "";
  });
}

/** The number at [i, j, m] of a column's array. */
function at({data, shape}, [i, j, m]) {
  const {w, c} = maps(shape);
  return data[(i * w + j) * c + m];
}

async function paintAll() {
  await Promise.all(visible().map(paint));
}

async function paint(column) {
  const view = views.get(column);
  const asked = request(column);
  const turn = view.turn = {};
  let array;
  try {
    array = await source.array(asked);
  } catch (error) {
    array = {missing: error.message};
    say(error.message, true);
  }
  if (view.turn !== turn) { // asked again since
    return;
  }
  view.box.classList.toggle("missing", Boolean(array.missing));
  if (array.missing) {
    view.values.setAttribute("aria-label", array.missing);
    return;
  }
  Object.assign(view, {array, whole: array.whole});
  paintGrid(view.values, array, view.grid, array.whole, kindOf(column, asked.what, array.whole));
  view.values.setAttribute("aria-label", describe(column, view, asked.what));
  view.values.dataset.version = source.info.version;
  if (column === selected()) {
    showLegend();
  }
}

function describe({name, shape, total}, {whole}, what) {
  const {h, w} = maps(shape);
  const content = h * w > 1 ? `${total} maps of ${h} × ${w}` : `${total} numbers`;
  const from = whole.length ? `, from ${short(whole[0])} to ${short(whole[1])}` : "";
  return `${name || "input"}, ${what}: ${content}${from}. Arrow keys move the cell.`;
}

function showLegend() {
  const column = selected();
  const view = column && views.get(column);
  if (view?.array) {
    const what = shows(column);
    const [label, scale] = document.getElementById("legend").children;
    label.textContent = `${column.name || "input"} ${what}`;
    legend(scale, view.whole, {kind: kindOf(column, what, view.whole)});
  }
}

/** Draw the selected map, the cell and its receptive fields over the columns. */
function mark() {
  const chosen = selected();
  const cell = state.cell();
  const at = chosen && fromCell(chosen.shape, cell);
  for (const [column, view] of views) {
    const context = fit(view.marks, view.grid);
    context.clearRect(-4, -4, view.grid.width + 8, view.grid.height + 8);
    view.box.classList.toggle("selected", column === chosen);
    view.title.setAttribute("aria-pressed", column === chosen);
  }
  if (!at) {
    return;
  }
  const own = views.get(chosen);
  const context = fit(own.marks, own.grid);
  const {h, w} = own.grid;
  if (h * w > 1) {
    outline(context, own.grid, at[2], [0, 0, h, w], {width: 1});
  }
  outline(context, own.grid, at[2], [at[0], at[1], at[0] + 1, at[1] + 1]);
  Object.assign(own.values.dataset, {channel: at[2], cell: cell.join(",")});
  showLegend();
  for (const [name, region] of Object.entries(connected(chosen, cell))) {
    markRegion(columns().find((column) => column.name === name), region);
  }
}

/** What a cell is computed from; with gradients, the cells of the next layer it goes into. */
function connected({index}, cell) {
  const {model} = source;
  if (!state.get("grad")) {
    return index < 0 ? {} : field(model, index, cell.map((i) => [i, i + 1]));
  }
  const next = model.layers[index + 1];
  const found = next ? outputs(next, cell) : null;
  return found?.length
    ? {[next.name]: around(found.map((each) => each.cell), next.output_shape)} : {};
}

/** Outline a region, [start, stop] an axis, of a column's array. */
function markRegion(column, region) {
  const {marks, grid} = views.get(column);
  const context = fit(marks, grid);
  const {h, w, count: shown, width, height} = grid;
  const [rows, across] = h * w > 1 ? region : [[0, 1], [0, 1]];
  const [from, to] = h * w > 1 ? region[2] || [0, 1] : region[0];
  if (h * w === 1 && to - from > 1) { // of a vector, all
    context.strokeStyle = "#c2185b";
    context.strokeRect(0.5, 0.5, width - 1, height - 1);
    return;
  }
  for (let m = from; m < Math.min(to, shown); m++) {
    outline(context, grid, m, [rows[0], across[0], rows[1], across[1]],
      {width: 1.5, colour: "#c2185b"});
  }
}

/** Scroll the selected column into view, inside of the row of columns only. */
function reveal() {
  const box = selected() && views.get(selected()).box;
  if (box) {
    const row = box.parentElement;
    const [left, right] = [box.offsetLeft - row.offsetLeft, box.offsetLeft + box.offsetWidth];
    if (left < row.scrollLeft || right - row.offsetLeft > row.scrollLeft + row.clientWidth) {
      row.scrollTo({left: left - 24, behavior: "auto"});
    }
  }
}
