/** The panel of a cell or a weight: where its value or its gradient comes from. */

import {state} from "nanocnn/state.js";
import {source} from "nanocnn/source.js";
import {checkActions} from "nanocnn/nudge.js";
import {shape as sizes} from "nanocnn/numbers.js";
import {isFused} from "nanocnn/activations.js";
import {backward, lossView} from "nanocnn/backward.js";
import {forward} from "nanocnn/forward.js";
import {around, field, layersOf, outputs, size} from "nanocnn/reach.js";
import {
  at, cellState, exact, formula, full, jump, p, read, sourceText,
} from "nanocnn/terms.js";
import {
  cellHere, here, positions, shapeAt, stepBackward, stepForward, strongest,
} from "nanocnn/walk.js";
import {extremesView, parseWeight, weightView} from "nanocnn/weight.js";
import {debounced, el, labelled} from "nanocnn/widgets.js";

export {stepBackward, stepForward};

const WATCHED = ["layer", "view", "cell", "weight", "grad", "panel"];
const PAUSE = 100; // ms after the last change of the numbers
let panel = null;
let drawn = ""; // the state that the panel shows
let running = false;
let again = false;

/** Builds the panel and keeps it up to date. */
export function mount(element) {
  panel = element;
  panel.classList.add("cell-panel");
  panel.addEventListener("click", follow);
  state.on(WATCHED, (changed) => {
    const moved = changed.includes("cell") || changed.includes("layer");
    if (moved && !changed.includes("weight") && state.get("weight")) state.set({weight: null});
    else render();
  });
  source.on("change", debounced(render, PAUSE)); // a stroke's next digit goes first
  render();
}

/** A click on a number or an index goes there. */
function follow(event) {
  const target = event.target.closest("[data-go]");
  if (target) state.set({panel: "cell", ...JSON.parse(target.dataset.go)}, {push: true});
}

/** Draws what is chosen; of calls that come while it draws, only the last is done. */
async function render() {
  if (running) {
    again = true;
    return;
  }
  if (panel.closest("[hidden]")) return;
  running = true;
  try {
    do {
      again = false;
      const key = WATCHED.map((name) => state.get(name)).join("|");
      const {version} = source.info;
      const content = await view().catch((error) => [el("p", {class: "error"}, error.message)]);
      if (!again) {
        show(content, key);
        panel.dataset.version = version;
      }
    } while (again);
  } finally {
    running = false;
  }
}

/** Puts the content in place; what was unfolded or had the focus stays so if only numbers moved. */
function show(content, key) {
  const inside = panel.contains(document.activeElement);
  const kept = key === drawn ? remember() : null;
  drawn = key;
  panel.replaceChildren(...content.filter(Boolean));
  if (kept) kept();
  else if (inside) panel.querySelector("h2")?.focus({preventScroll: true});
}

const folds = () => [...panel.querySelectorAll("details, .more")];
const stops = () => [...panel.querySelectorAll("button, input, summary, pre")];
const isOpen = (fold) => fold.open ?? fold.getAttribute("aria-expanded") === "true";

function remember() {
  const open = folds().map(isOpen);
  const place = stops().indexOf(document.activeElement);
  const answer = panel.querySelector(".answer");
  const e = panel.querySelector("#nudge-e")?.value;
  return () => {
    folds().forEach((fold, i) => {
      if (open[i] && !isOpen(fold)) (fold.querySelector("summary") ?? fold).click();
    });
    if (answer?.hasChildNodes()) panel.querySelector(".answer")?.append(...outdated(answer));
    if (e) panel.querySelector("#nudge-e")?.setAttribute("value", e);
    if (place >= 0) stops()[place]?.focus({preventScroll: true});
  };
}

/** What an answer said, with a note that it is of earlier numbers. */
function outdated(answer) {
  const note = el("p", {class: "quiet outdated"}, "This was before the last change.");
  return answer.querySelector(".outdated") ? [...answer.children] : [note, ...answer.children];
}

/** The content for what the state says: [elements]. */
async function view() {
  const now = here();
  const layers = layersOf(source.model);
  if (!now) return overview(layers);
  const named = layers.find(({name}) => name === state.get("layer")) ?? null;
  const weight = parseWeight(named, state.get("weight"));
  if (weight) return withWeight(named, weight);
  if (now.loss) return [bar(now), title("The loss"), bigLoss(), ...(await lossView())];
  const cell = cellHere(now.place);
  const layer = layers[now.place] ?? null;
  return cell ? withCell(now, layer, cell) : withLayer(now, layer);
}

async function overview(layers) {
  return [
    title("Where does a number come from?"),
    p("Click a cell of a map, here or in the network, and its number is taken apart: what it is "
      + "computed from, and, with “Gradients”, how the loss depends on it. Or walk through the "
      + "whole pass, one layer at a time, with the buttons or the keys f and b."),
    bar(null),
    ...(await Promise.all(layers.map(extremesView))),
  ];
}

async function withLayer(now, layer) {
  const cell = await strongest({...now, loss: false}, null);
  const link = jump({...cellState(layer, cell), grad: now.back ? "1" : null}, at(cell));
  return [
    bar(now), title(layer ? `${layer.name} (${layer.kind})` : "The image"),
    layer ? formula(layer.formula) : null,
    layer ? p(`${sizes(layer.input_shape)} in, ${sizes(layer.output_shape)} out.`) : null,
    p(`Click one of its ${size(shapeAt(now.place))} cells, or take the one that is furthest from `
      + `0${now.back ? " in its gradient" : ""}: `, link),
    layer ? await extremesView(layer) : null,
    sourceText(layer?.forward),
  ];
}

async function withCell(now, layer, cell) {
  const shape = shapeAt(now.place);
  const last = now.place === layersOf(source.model).length - 1;
  const what = !now.back ? (layer ? "y" : "x") : !layer ? "dx"
    : last && isFused(layer) ? "dz" : "dy";
  const name = what.startsWith("d") ? `dL/d${what[1]}` : what;
  const [number, parts, weights] = await Promise.all([
    read(layer, what, shape, [cell]),
    now.back ? backward(now.place, cell) : forward(layer, cell),
    layer ? extremesView(layer) : null,
  ]);
  return [
    bar(now), title(`${name}${at(cell)} of ${layer ? layer.name : "the image"}`, layer?.kind),
    el("p", {class: "value"}, exact(number(cell), what, layer, cell)),
    choose(now, layer, cell), weights, ...laidOut(parts), ...(now.back ? checkActions(layer) : []),
  ];
}

/** Sources go beside the numbers where there is room. */
function laidOut(parts) {
  const isSource = (part) => part?.classList.contains("source");
  const sources = parts.filter(isSource);
  const rest = el("div", {}, ...parts.filter((part) => part && !isSource(part)));
  if (!sources.length) return [rest];
  const beside = el("div", {class: "sources"},
    el("h3", {}, "The reference kernel that defines it"), ...sources);
  return [el("div", {class: "split"}, rest, beside)];
}

async function withWeight(layer, {name, index}) {
  const parts = await weightView(layer, {name, index});
  const cell = state.get("cell");
  return [
    bar(here()), title(`${name}${at(index)} of ${layer.name}`, layer.kind),
    cell ? p(jump({weight: null}, `back to the cell [${cell}]`)) : null,
    ...laidOut(parts), await extremesView(layer),
  ];
}

const title = (words, kind = "") =>
  el("h2", {tabindex: "-1"}, words, kind ? el("span", {class: "quiet"}, ` ${kind}`) : null);

const bigLoss = () => el("p", {class: "value"},
  el("span", {class: "number", "data-what": "loss"}, full(Number(source.info.loss))));

/** Value or gradient, and another index. */
function choose(now, layer, cell) {
  const button = (words, grad) => el("button", {
    type: "button", "aria-pressed": String(now.back === (grad === "1")),
    "data-go": JSON.stringify({...cellState(layer, cell), grad}),
  }, words);
  const input = el("input", {id: "cell-index", value: cell.join(","), size: "9"});
  const go = (event) => {
    event.preventDefault();
    const text = input.value.replaceAll(" ", "").replace(/^\[|\]$/g, "");
    const numbers = text.split(",").map(Number);
    const shape = shapeAt(now.place);
    const fits = numbers.length === shape.length
      && numbers.every((i, axis) => Number.isInteger(i) && i >= 0 && i < shape[axis]);
    input.setCustomValidity(fits ? "" : `expected an index within ${sizes(shape)}`);
    if (!input.reportValidity()) return;
    state.set({...cellState(layer, numbers), grad: now.back ? "1" : null}, {push: true});
  };
  input.addEventListener("input", () => input.setCustomValidity(""));
  return el("form", {class: "toolbar", onsubmit: go},
    el("span", {class: "choice", role: "group", "aria-label": "What is explained"},
      button("Where the value comes from", null), button("Where the gradient comes from", "1")),
    labelled("Cell", input));
}

/** The walk through the pass: where it stands, a step back, a step on. */
function bar(now) {
  const all = positions();
  const place = now
    ? all.findIndex((one) => one.place === now.place && one.back === now.back
      && !one.loss === !now.loss)
    : -1;
  const words = now
    ? `${now.loss ? "loss" : now.back ? "backward" : "forward"}, ${place + 1} of ${all.length}`
    : `${all.length} steps: forward, loss, backward`;
  return el("div", {class: "toolbar walk"},
    el("button", {type: "button", id: "step-back", onclick: stepBackward, disabled: place < 0
      || place === 0, title: "One step back along the pass (b)"}, "◀ back"),
    el("button", {type: "button", id: "step-on", onclick: stepForward,
      disabled: place === all.length - 1, title: "One step on along the pass (f)"}, "on ▶"),
    el("span", {class: "quiet", id: "walk-place"}, words));
}

/**
 * What to outline in the network: {layer name, "" for the image: [[start, stop] an axis]}. The
 * cells that the chosen one is computed from; with gradients, those of the next layer that it goes
 * into.
 */
export function highlight() {
  const now = source.model && here();
  const cell = now && cellHere(now.place);
  if (!cell || state.get("weight")) return {};
  const layers = layersOf(source.model);
  const own = {[layers[now.place]?.name ?? ""]: cell.map((i) => [i, i + 1])};
  if (!now.back) return {...field(source.model, now.place, cell.map((i) => [i, i + 1])), ...own};
  const next = layers[now.place + 1];
  const found = next ? outputs(next, cell) : null;
  if (!found?.length) return own;
  return {[next.name]: around(found.map((each) => each.cell), next.output_shape), ...own};
}
