/** The weights of a layer over time: their distribution, their gradients', and the filters. */
import {source} from "nanocnn/source.js";
import {state} from "nanocnn/state.js";
import {spread} from "nanocnn/charts.js";
import {filmstrip} from "nanocnn/tables.js";
import {planes} from "nanocnn/planes.js";
import {choice, el, fill, labelled, part, say} from "nanocnn/widgets.js";

const SHOTS = 12; // columns of the strip of filters
const FILTERS = 8; // rows of it
const PAUSE = 1000; // ms between questions for distributions while it trains

/** Select of the array, the two distributions and the strip; `ask` gets news at once. */
export function mountDistributions(ask) {
  const seen = {name: "", last: "", time: 0, busy: false, chosen: false};
  const select = choice("train-array", [], () => {
    Object.assign(seen, {chosen: true, last: ""});
    ask();
  });
  const [weights, gradients] = [el("div"), el("div")];
  const charts = {
    weights: spread(weights, {title: "Weights"}),
    gradients: spread(gradients, {title: "Gradients"}),
  };
  const note = el("p", {class: "note"}, "The stronger the colour, the more of the numbers. "
    + "Line: the median; dashes: the 5th and 95th percentile.");
  const film = mountFilm();
  state.on(["layer"], () => {
    seen.chosen = false;
  });
  return {
    elements: [part("train-spread", "Distributions over time",
      el("div", {class: "toolbar"}, labelled("array", select)), weights, gradients, note),
    film.element],
    show(run) {
      fill(select, run.layers);
      if (!seen.chosen || !run.layers.includes(select.value)) {
        select.value = preferred(run.layers);
      }
      if (select.value) {
        film.show(select.value, run);
        update(seen, select.value, run, charts);
      }
    },
  };
}

/** The kernel of the selected layer, or the first array. */
function preferred(names) {
  const own = names.filter((name) => name.startsWith(`${state.get("layer")}/`));
  return own.find((name) => name.endsWith("/kernel")) ?? own[0] ?? names[0] ?? "";
}

/** Asks for the distributions where there may be new ones; one question at a time. */
async function update(seen, name, run, charts) {
  const key = JSON.stringify([name, run.branch, run.step, run.running]);
  const early = run.running && seen.name === name && performance.now() - seen.time < PAUSE;
  if (seen.busy || early || key === seen.last) {
    charts.weights.mark(run.at);
    charts.gradients.mark(run.at);
    return;
  }
  Object.assign(seen, {busy: true, name, last: key, time: performance.now()});
  for (const of of ["weights", "gradients"]) {
    try {
      const {arrays: [steps, edges, counts]} = await source.call("history", {name, of});
      charts[of].update({steps: steps.data, edges: edges.data, counts: counts.data}, run);
    } catch {
      charts[of].update({steps: [], edges: [0], counts: new Float32Array(0)});
    }
  }
  seen.busy = false;
}

/** The first filters of the chosen array at steps spread over the training. */
function mountFilm() {
  const shots = {name: "", branch: 0, list: [], spacing: 1, busy: false};
  const holder = el("div");
  const note = el("p", {class: "note"});
  const strip = filmstrip(holder, {label: "Filters over time"});
  return {
    element: part("train-film", "Filters as they change", holder, note),
    async show(name, run) {
      if (shots.name !== name || run.branch !== shots.branch) {
        const list = shots.name === name ? shots.list.filter(({step}) => step < run.step) : [];
        Object.assign(shots, {name, list, branch: run.branch, spacing: list.length ? shots.spacing
          : 1});
      }
      const plane = planeOf(name);
      const due = plane && !run.live && run.at === null || shots.list.length === 0;
      if (plane && due && !shots.busy) {
        await take(shots, plane, run).catch(() => {});
      }
      if (plane && shots.list.length > 0) {
        strip.update(shots.list, namesOf(plane), run.at);
      } else {
        strip.clear(plane ? "" : "This array has no maps: choose a kernel above.");
      }
      say(note, plane ? `The first ${rows(plane)} ${plane.unit}s of ${name}`
        + `${plane.channels > 1 ? ", input channel 0" : ""}, as they were while this page was open.`
        : "");
    },
  };
}

const rows = (plane) => Math.min(FILTERS, plane.filters);
const namesOf = (plane) => Array.from({length: rows(plane)}, (_, k) => `${k}`);

/** How the array's numbers are maps, or null where they are none. */
function planeOf(name) {
  const [layer, array] = [name.slice(0, name.lastIndexOf("/")), name.split("/").at(-1)];
  const found = source.model.layers.find((one) => one.name === layer);
  const plane = found?.params[array] ? planes(source.model, found, array) : null;
  return plane?.unit ? plane : null;
}

/** Adds a column; where there are too many, every second one goes, but the first and last. */
async function take(shots, plane, run) {
  const last = shots.list.at(-1)?.step ?? -Infinity;
  if (run.step === last) {
    return;
  }
  shots.busy = true;
  const {name} = shots;
  const stop = rows(plane);
  const {data, whole} = await source.array(plane.request(0, stop)).finally(() => {
    shots.busy = false;
  });
  if (shots.name !== name) {
    return;
  }
  const maps = Array.from({length: stop}, (_, f) => plane.map(data, stop, f, 0));
  const before = shots.list.at(-2)?.step ?? -Infinity;
  const kept = last - before < shots.spacing ? shots.list.slice(0, -1) : shots.list;
  shots.list = [...kept, {step: run.step, maps, h: plane.h, w: plane.w, whole}];
  if (shots.list.length > SHOTS) {
    const list = shots.list;
    shots.list = list.filter((_, k) => k % 2 === 0 || k === list.length - 1);
    shots.spacing = Math.max(1, shots.list[1].step - shots.list[0].step);
  }
}
