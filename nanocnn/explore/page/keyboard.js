/** Keys for everything on the page, and the dialog that lists them. */

import {state} from "nanocnn/state.js";
import {stepBackward, stepForward} from "nanocnn/cell.js";
import {choose, columns, moveCell, moveChannel, moveLayer, selected} from "nanocnn/columns.js";
import {moveWeight, perRow} from "nanocnn/zoom.js";
import {ARROWS, el} from "nanocnn/widgets.js";

const KEYS = [
  ["← →", "layer before, layer after (on a map: the cell)"],
  ["↑ ↓ ← →", "on a map: move the cell, or the weight of a filter"],
  ["[ ]", "map before, map after: the same cell of another channel"],
  [", .", "layer before, layer after, also on a map"],
  ["f", "one step on: forward to the loss, then the gradients back to the digit"],
  ["b", "one step back"],
  ["g", "values or gradients"],
  ["Enter", "on a map: choose its layer and go to the large map, from there to the panel"],
  ["Escape", "back to the map in the row; close this"],
  ["↑ ↓ ← → Space", "on the paper: move the pen (Shift: further), put it down, lift it"],
  ["1 2 3 4", "panels: cell, edit, train, tours (on a tab, ← → too)"],
  ["n p", "in a tour: next step, step before; Escape ends it"],
  ["↑ ↓ ← →", "on the map of weights in the panel Edit: choose a weight"],
  ["Ctrl Z", "in the panel Edit: undo the last change"],
  ["Enter", "in the field of a nudge: compute it"],
  ["← → Home End", "on a chart: read a value; with Shift in larger steps"],
  ["?", "these keys"],
];
const PANELS = {1: "cell", 2: "edit", 3: "train", 4: "tour"};
let dialog = null;

/** Fill the dialog and listen to keys. */
export function mount(element) {
  dialog = element;
  const rows = KEYS.map(([keys, what]) => el("tr", {},
    el("th", {scope: "row"}, el("kbd", {}, keys)), el("td", {}, what)));
  const close = el("button", {type: "button", class: "main"}, "Close");
  close.addEventListener("click", () => dialog.close());
  dialog.append(el("h2", {id: "help-title"}, "How to use this page"),
    el("p", {}, "Draw a digit. Each column is a layer: its numbers as colours, blue below 0, "
      + "orange above. Click a cell: outlined is what it is computed from, and the panel below "
      + "writes out the sum. Switch to gradients to see how the loss would change."),
    el("table", {}, el("tbody", {}, ...rows)), close);
  document.getElementById("help-button").addEventListener("click", () => dialog.showModal());
  addEventListener("keydown", press);
}

/** Keys that belong to a field, a list, a slider or a dialog are left to it. */
function isTaken(event) {
  const {target} = event;
  return event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || dialog.open
    || target.closest?.("input, select, textarea, dialog, [role=slider], [contenteditable]");
}

function press(event) {
  if (isTaken(event)) {
    return;
  }
  const {key, target} = event;
  const isMap = target.matches?.("canvas.values");
  if (act(key, isMap, target)) {
    event.preventDefault();
  }
}

/** Do what a key says; whether it says something. */
function act(key, isMap, target) {
  if (isMap && (ARROWS[key] || key === "Enter") && isOther(target)) {
    choose(columns().find(({name}) => name === target.dataset.layer), {push: key === "Enter"})
      .then(() => key === "Enter" && enter(target));
    return true;
  }
  if (ARROWS[key] && isMap) {
    const isZoom = target.id === "zoom-map";
    const [rows, across] = ARROWS[key];
    if (!isZoom || !moveWeight(rows, across)) {
      moveCell(rows, across, isZoom ? perRow() : Number(target.dataset.across) || 1);
    }
    return true;
  }
  const action = {
    ArrowLeft: () => moveLayer(-1), ArrowRight: () => moveLayer(1),
    ",": () => moveLayer(-1), ".": () => moveLayer(1),
    "[": () => moveChannel(-1), "]": () => moveChannel(1),
    g: () => state.set({grad: state.get("grad") ? null : "1"}, {push: true}),
    f: stepForward, b: stepBackward,
    "?": () => dialog.showModal(),
    Escape: toColumn,
  }[key];
  if (action) {
    action();
  } else if (PANELS[key]) {
    document.getElementById(`tab-${PANELS[key]}`).click();
  } else if (key === "Enter" && isMap) {
    enter(target);
  } else {
    return false;
  }
  return true;
}

/** Whether this is the map of a layer that is not selected: Tab alone selects none. */
const isOther = ({id, dataset}) => id !== "zoom-map" && dataset.layer !== state.get("layer");

function enter(target) {
  const next = target.id === "zoom-map" ? document.getElementById("panel-cell")
    : document.getElementById("zoom-map");
  if (target.id === "zoom-map") {
    state.set({panel: "cell"});
    next.tabIndex = -1;
  }
  next.focus();
}

function toColumn() {
  const index = selected()?.index;
  document.querySelector(`.column[data-index="${index}"] canvas.values`)?.focus();
}
