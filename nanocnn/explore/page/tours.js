/**
 * Guided tours: a text beside the page, step by step. A step is a state of the page, so its address
 * is a link: `tour=conv:2`. Keys: n on, p back, Escape ends.
 */

import {state} from "nanocnn/state.js";
import {source} from "nanocnn/source.js";
import {say as message} from "nanocnn/message.js";
import {button, el} from "nanocnn/widgets.js";
import {conv} from "nanocnn/tours_conv.js";
import {im2col} from "nanocnn/tours_im2col.js";
import {pool} from "nanocnn/tours_pool.js";
import {dropout} from "nanocnn/tours_dropout.js";
import {vanish} from "nanocnn/tours_vanish.js";
import {four} from "nanocnn/tours_four.js";

const TOURS = [conv, pool, vanish, dropout, four, im2col];
const PLAIN = {view: null, cell: null, weight: null, grad: null, panel: "cell"};
const OF_DIGIT = ["digit", "label", "training"];
const wasGiven = state.get("layer") !== null; // the address says more than the tour
let list = null;
const box = {};
let home = {}; // digit, label and mode from before the tour
let entering = null; // the last call of enter()
let isEntering = false;
let drawing = null;

/** Build the list of tours and the box of the step, and go to the address's step. */
export function mount(element) {
  list = el("ol", {class: "tours"});
  element.append(el("h2", {}, "Guided tours"),
    el("p", {}, "Each is a walk of a few steps through this page, with this model and this digit."),
    list);
  buildBox();
  state.on(["tour"], () => {
    if (!source.followTour()) {
      showList();
      draw();
    }
  });
  source.on("change", () => {
    showList();
    draw();
  });
  addEventListener("keydown", press, true);
  showList();
  if (now()) {
    keepHome();
    source.wait(enter({onlyMissing: wasGiven}));
  }
}

function buildBox() {
  Object.assign(box, {
    place: el("p", {class: "note"}), title: el("h2"),
    text: el("div", {class: "tour-text", "aria-live": "polite"}),
    back: button("tour-back", "◀ back", () => move(-1), {title: "The step before (p)"}),
    next: button("tour-next", "next ▶", () => move(1), {title: "The next step (n)"}),
    end: button("tour-end", "end", end, {title: "End the tour (Escape)"}),
  });
  box.next.classList.add("main");
  box.element = el("section", {id: "tour", "aria-label": "Guided tour", hidden: true},
    box.place, box.title, box.text, el("div", {class: "toolbar"}, box.back, box.next, box.end));
  document.getElementById("tabs").before(box.element);
}

/** {tour, steps, k} of the address, k from 0; or null. */
function now() {
  const [id, number] = (state.get("tour") || "").split(":");
  const tour = TOURS.find((each) => each.id === id);
  if (!tour || tour.reason()) {
    return null;
  }
  const steps = tour.steps();
  return {tour, steps, k: Math.min(steps.length, Math.max(1, Number(number) || 1)) - 1};
}

function showList() {
  const current = now()?.tour;
  list.replaceChildren(...TOURS.map((tour) => {
    const reason = tour.reason();
    const start = button(`tour-${tour.id}`, tour.title, () => begin(tour),
      {disabled: Boolean(reason), "aria-current": tour === current ? "true" : null});
    return el("li", {}, start, el("p", {class: "note"}, reason || tour.about));
  }));
}

function keepHome() {
  home = Object.fromEntries(OF_DIGIT.map((name) => [name, state.get(name)]));
}

async function begin(tour) {
  if (!now()) {
    keepHome();
  }
  await go(tour, 0);
}

/** Go to a step: the address first, since a tour with a model of its own loads the page again. */
async function go(tour, k) {
  isEntering = true; // the text comes when the page is where it belongs
  state.set({tour: `${tour.id}:${k + 1}`}, {push: true});
  if ((source.session.tour ?? null) === tour.model) {
    await enter();
  }
}

function move(by) {
  const here = now();
  const k = here.k + by;
  if (k >= here.steps.length) {
    end();
  } else if (k >= 0) {
    go(here.tour, k);
  }
}

/** End the tour and show the digit and the mode of before. */
function end() {
  const gone = now()?.tour.model ? {layer: null, cell: null, view: null} : {};
  const shown = {grad: null, weight: null, ...gone};
  state.set({tour: null, panel: "tour", ...shown, ...home}, {push: true});
}

/** Bring the page to the state of the step; `onlyMissing`: but for what the address says. */
async function enter({onlyMissing = false} = {}) {
  isEntering = true;
  const turn = entering = {};
  const {steps, k} = now();
  const step = steps[k];
  try {
    const sample = {...home, training: null, ...(await step.sample?.(home))};
    if (!onlyMissing) {
      await bring(sample);
    }
    await seeded(step.seed ?? 0);
    const place = {...PLAIN, ...(await step.place())};
    if (turn !== entering) {
      return;
    }
    const missing = ([name]) => !onlyMissing || state.get(name) === null;
    state.set(Object.fromEntries(Object.entries(place).filter(missing)));
  } catch (error) {
    message(error.message, true);
  }
  if (turn === entering) {
    isEntering = false;
    await draw();
    reveal(step);
  }
}

/** Set digit, label and mode, and wait until the server has answered. */
async function bring(sample) {
  const wanted = Object.fromEntries(Object.entries(sample)
    .filter(([name, value]) => state.get(name) !== (value ?? null)));
  if (wanted.digit === null) {
    delete wanted.digit; // what was there has no address
  }
  if (!Object.keys(wanted).length) {
    return;
  }
  const {version} = source.info;
  state.set(wanted);
  const isOn = wanted.training === "1";
  const arrived = () => (!("training" in wanted) || source.info.training === isOn)
    && (!wanted.label || String(source.info.label) === String(wanted.label))
    && source.info.version > version;
  for (let wait = 0; wait < 400 && !arrived() && !source.static; wait++) {
    await new Promise((resolve) => setTimeout(resolve, 12));
  }
}

/** Dropout's random numbers: those of this seed. */
async function seeded(seed) {
  if (source.info.training && source.info.seed !== seed) {
    await source.call("mode", {training: true, seed});
  }
}

/** The text of the step, with the numbers of now. */
async function draw() {
  const here = now();
  if (isEntering && here) {
    return;
  }
  box.element.hidden = !here;
  document.body.classList.toggle("touring", Boolean(here));
  if (!here) {
    return;
  }
  const {tour, steps, k} = here;
  const turn = drawing = {};
  box.place.textContent = `${tour.title} · ${k + 1} of ${steps.length}`;
  box.title.textContent = steps[k].title;
  box.back.disabled = k === 0;
  box.next.textContent = k === steps.length - 1 ? "done" : "next ▶";
  const failed = (error) => [el("p", {class: "error"}, error.message)];
  const content = await steps[k].text().catch(failed);
  if (turn === drawing) {
    box.text.replaceChildren(...content.filter(Boolean));
    box.element.dataset.step = `${tour.id}:${k + 1}`;
  }
}

/** What the step speaks of comes into view; in a narrow window the box lies over the end of it. */
function reveal({look}) {
  const isNarrow = getComputedStyle(box.element).position === "fixed";
  const isAbove = look === "network" || look === "draw";
  if (isNarrow) {
    document.getElementById(look).scrollIntoView({block: "start"});
  } else {
    scrollTo(0, 0);
    box.element.scrollIntoView({block: isAbove ? "nearest" : "start"});
  }
  box.element.scrollTop = 0;
}

function press(event) {
  const isTaken = event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey
    || event.target.closest?.("input, select, textarea, dialog, [contenteditable]");
  const action = {n: () => move(1), p: () => move(-1), Escape: end}[event.key];
  if (action && !isTaken && now()) {
    event.preventDefault();
    event.stopPropagation();
    action();
  }
}
