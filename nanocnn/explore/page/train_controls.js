/** The controls of a training and, in words, what goes on. */
import {source} from "nanocnn/source.js";
import {count, short} from "nanocnn/numbers.js";
import {button, choice, el, labelled, setText} from "nanocnn/widgets.js";

const OPTIMIZERS = ["SGD", "Adam", "AdamW", "Nadam", "RMSprop", "Adadelta"];
const LOWEST = -6; // powers of ten of the slider of the learning rate
const HIGHEST = 1;

/** The controls; `control(body)` sends the action "train". */
export function mountControls(control) {
  const buttons = {
    start: button("train-start", "Start", () => control({do: "start"}), {class: "main"}),
    pause: button("train-pause", "Pause", () => control({do: "pause"})),
    step: button("train-step", "One step", () => control({do: "step"})),
    epoch: button("train-epoch", "One epoch", () => control({do: "epoch"})),
  };
  const status = el("p", {class: "status", id: "train-status"});
  const speedLine = el("p", {class: "note", id: "train-speed"});
  const heard = el("p", {class: "sr", role: "status", id: "train-heard"});
  const problem = el("p", {id: "train-problem", role: "alert"});
  const settings = mountSettings(control);
  const watching = el("p", {class: "note", id: "train-live", hidden: true},
    "The page watches the training of a script: the script starts, stops and sets it.");
  const toolbar = el("div", {class: "toolbar"}, ...Object.values(buttons));
  return {
    element: el("div", {class: "part"}, toolbar, settings.element, watching, status,
      el("div", {class: "stacked"}, speedLine, problem), heard),
    problem(text, isError = true) {
      setText(problem, text ?? "");
      problem.className = isError ? "error" : "note";
      speedLine.hidden = Boolean(text);
    },
    show(run, speed) {
      toolbar.hidden = settings.element.hidden = run.live;
      watching.hidden = !run.live;
      enable(buttons.start, !run.running, buttons.pause);
      enable(buttons.pause, run.running, buttons.start);
      settings.show(run);
      setText(status, statusText(run));
      setText(speedLine, speedText(run, speed));
      setText(heard, run.running ? "The training runs." : "The training is paused.");
    },
  };
}

/** Disables a button; if it had the focus, its counterpart gets it. */
function enable(one, on, other) {
  const focused = document.activeElement === one;
  one.disabled = !on;
  if (focused && !on) {
    other.disabled = false;
    other.focus();
  }
}

/** "running: step 312, epoch 2 (batch 12 of 79)". */
function statusText({running, live, step, epoch, batch, batches, at, kept}) {
  const place = `step ${count(step)}, epoch ${epoch + 1}`
    + (batches ? ` (batch ${Math.min(batch + (running ? 1 : 0), batches)} of ${batches})` : "");
  if (at !== null && at !== undefined) {
    return live ? `looking back at step ${count(at)}; the script is at ${place}`
      : `looking back at ${place}; the training reached step ${count(kept?.at(-1) ?? step)}`;
  }
  return running ? `running: ${place}` : step > 0 ? `paused: ${place}` : "not trained here yet";
}

/** Steps a second, and what watching costs. */
function speedText({running, cost}, speed) {
  const parts = [running && speed > 0 ? `${short(speed, 3)} steps/s` : "",
    running && cost >= 0.0005 ? `recording takes ${(cost * 100).toFixed(1)}% of the time` : ""];
  return parts.filter(Boolean).join("; ");
}

/** Learning rate, optimizer and batch size: what is changed counts from the next step on. */
function mountSettings(control) {
  const set = (body) => control({do: "set", ...body});
  const setRate = () => set({learning_rate: Number(number.value)});
  const slider = el("input", {type: "range", id: "learning-rate-slider", min: LOWEST, max: HIGHEST,
    step: 0.05, "aria-label": "learning rate, logarithmic", onchange: setRate, oninput: () => {
      const rate = Number((10 ** Number(slider.value)).toPrecision(2));
      number.value = rate;
      slider.setAttribute("aria-valuetext", `${rate}`);
    }});
  const number = el("input", {type: "number", id: "learning-rate", min: 0, step: "any",
    onchange: setRate});
  const optimizer = choice("optimizer", OPTIMIZERS.map((name) => [name.toLowerCase(), name]), () =>
    set({optimizer: optimizer.value}));
  const batch = el("input", {type: "number", id: "batch-size", min: 1, step: 1,
    onchange: () => set({batch_size: Number(batch.value)})});
  const note = el("span", {class: "note"});
  const rateField = labelled("learning rate", number, slider);
  return {
    element: el("div", {class: "toolbar settings"}, rateField, labelled("optimizer", optimizer),
      labelled("batch size", batch), note),
    show(run) {
      const rate = Number(run.learning_rate);
      if (![slider, number].includes(document.activeElement)) {
        number.value = Number(rate.toPrecision(4));
      }
      if (document.activeElement !== slider) {
        slider.value = Math.log10(Math.max(rate, 1e-12));
        slider.setAttribute("aria-valuetext", short(rate));
      }
      if (document.activeElement !== optimizer) {
        optimizer.value = run.optimizer.toLowerCase();
      }
      if (document.activeElement !== batch) {
        batch.value = run.batch_size ?? "";
      }
      setText(note, run.scheduled
        ? "A schedule sets the learning rate; a value set here replaces it." : "");
    },
  };
}

/** Whether this session can train, or why not. */
export function whyNot() {
  const {can_train: can, live} = source.session;
  return can || live ? null : "There are no digits to train this network on: start the page with "
    + "training data (x and y) to train it here.";
}
