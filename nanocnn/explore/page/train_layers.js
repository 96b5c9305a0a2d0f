/** The weights of a layer over time: their distribution, their gradients', and the filters. */
import {source} from "nanocnn/source.js";
import {state} from "nanocnn/state.js";
import {spread} from "nanocnn/charts.js";
import {mountFilm} from "nanocnn/train_film.js";
import {choice, el, fill, labelled, part, setText} from "nanocnn/widgets.js";

const PAUSE = 1000; // ms between questions for distributions while it trains
const LIVE_PAUSE = 2000; // of a script's fit, which answers slow down

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
  const pause = source.live ? LIVE_PAUSE : PAUSE;
  const early = run.running && seen.name === name && performance.now() - seen.time < pause;
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
