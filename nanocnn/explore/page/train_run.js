/** What the page knows of the training: asked for several times a second while it runs. */
import {source} from "nanocnn/source.js";

const OFTEN = 250; // ms between questions
const SELDOM = 1000; // about a script's fit, which answers slow down, or where none looks
const MOST = 4000; // points of a curve, then it is asked for anew, thinned

const EMPTY = {steps: [], losses: [], accuracies: [], tests: {steps: [], losses: [],
  accuracies: []}};

/** A run: its state, its curves, and how to be told of news.
 *
 * `visible()` says whether anyone looks; `told(error)` is called after every answer.
 */
export function watchRun(visible, told) {
  const run = {state: null, curves: EMPTY, speed: 0, since: -1, seen: []};
  let timer = 0;
  let asking = false;
  const ask = async () => {
    clearTimeout(timer);
    if (asking) {
      return;
    }
    asking = true;
    let error = null;
    try {
      await update(run);
    } catch (caught) {
      error = caught;
    }
    asking = false;
    told(error);
    plan();
  };
  const plan = () => {
    clearTimeout(timer);
    const {running = false, live = false} = run.state ?? {};
    const wait = running && !live && visible() ? OFTEN : running || live ? SELDOM : 0;
    if (wait > 0 && !document.hidden) {
      timer = setTimeout(ask, wait);
    }
  };
  document.addEventListener("visibilitychange", () => run.state && !document.hidden && ask());
  return {
    ask, curves: () => run.curves, speed: () => run.speed, state: () => run.state,
    forget() {
      Object.assign(run, {since: -1, curves: EMPTY, seen: []});
    },
  };
}

/** Asks for what is new and adds it to the curves. */
async function update(run) {
  const {arrays, ...state} = await source.call("run", {since: run.since});
  const other = run.state && state.branch !== run.state.branch;
  if (other && run.since >= 0) {
    run.since = -1;
    await update(run);
    return;
  }
  const [steps, losses, accuracies, tests] = arrays.map((array) => array.data);
  run.state = state;
  run.curves = run.since < 0 ? EMPTY : run.curves;
  run.curves = {
    steps: joined(run.curves.steps, steps), losses: joined(run.curves.losses, losses),
    accuracies: joined(run.curves.accuracies, accuracies), tests: testCurve(tests),
  };
  const n = run.curves.steps.length;
  run.since = n > MOST ? -1 : n > 0 ? run.curves.steps[n - 1] : -1;
  measureSpeed(run);
}

const joined = (old, added) => (added.length > 0 ? [...old, ...added] : old);

/** The rows (step, loss, accuracy) as three columns. */
function testCurve(rows) {
  const column = (k) => Array.from({length: rows.length / 3}, (_, row) => rows[3 * row + k]);
  return {steps: column(0), losses: column(1), accuracies: column(2)};
}

/** Steps a second over the last two seconds. */
function measureSpeed(run) {
  const now = performance.now();
  const {running, step} = run.state;
  run.seen = running ? [...run.seen.filter(([time]) => now - time < 2000), [now, step]] : [];
  const [time, first] = run.seen[0] ?? [now, step];
  run.speed = now > time ? Math.max(0, ((step - first) * 1000) / (now - time)) : 0;
}

/** Means that forget old values, so that the course is seen through the noise of batches. */
export function smoothed(values) {
  const keep = Math.min(0.95, 1 - 4 / Math.max(4, values.length / 4));
  let [sum, weight] = [0, 0];
  return values.map((value) => {
    if (!Number.isFinite(value)) {
      return value;
    }
    sum = keep * sum + (1 - keep) * value;
    weight = keep * weight + (1 - keep);
    return sum / weight;
  });
}
