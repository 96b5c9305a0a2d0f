/** The panel to train the network and to watch it train. */
import {source} from "nanocnn/source.js";
import {state} from "nanocnn/state.js";
import {mountControls, whyNot} from "nanocnn/train_controls.js";
import {mountDistributions} from "nanocnn/train_layers.js";
import {mountConfusion} from "nanocnn/train_confusion.js";
import {smoothed, watchRun} from "nanocnn/train_run.js";
import {mountScrub} from "nanocnn/train_scrub.js";
import {lines} from "nanocnn/charts.js";
import {el, inView, part, soon} from "nanocnn/widgets.js";

/** Builds the panel in `element`. */
export function mount(element) {
  const reason = source.static ? "This is a saved page: it cannot train." : whyNot();
  if (reason) {
    element.append(el("p", {class: "note"}, reason));
    return;
  }
  element.classList.add("panel-train");
  const visible = () => inView(element);
  const last = {failure: null}; // what the last request of the reader failed of
  const run = watchRun(visible, (error) => {
    const {message, at} = run.state() ?? {};
    const failure = error?.message ?? last.failure;
    controls.problem(failure ?? message, Boolean(failure) || at === null);
    show();
  });
  const failed = (text) => {
    last.failure = text;
    controls.problem(text);
  };
  let turn = Promise.resolve(); // requests reach the session in the order of the reader's clicks
  const control = (body) => {
    turn = turn.then(() => send(body));
    return turn;
  };
  const send = async (body) => {
    try {
      await source.call("train", body);
      failed(null);
      await run.ask();
    } catch (error) {
      failed(error.message);
    }
  };
  const controls = mountControls(control);
  const scrub = mountScrub({control, ask: run.ask, failed});
  const curves = mountCurves();
  const layers = mountDistributions(run.ask);
  const confusion = mountConfusion();
  element.append(controls.element,
    el("div", {class: "half"}, curves.element,
      part("train-back", "Back in time", scrub.element), confusion.element),
    el("div", {class: "half"}, ...layers.elements));
  const show = soon(() => {
    const now = run.state();
    if (now && visible()) {
      controls.show(now, run.speed());
      scrub.show(now);
      curves.show(run.curves(), now);
      layers.show(now);
      confusion.show(now);
    }
  });
  const open = soon(() => visible() && run.ask());
  state.on(["panel", "layer"], open);
  source.on("change", ({running}) => {
    if (!run.state()?.running) {
      (running ? run.ask : open)(); // or it began elsewhere
    }
  });
  source.on("back", () => {
    run.forget();
    open();
  });
  new ResizeObserver(open).observe(element);
  (source.live || source.info.running ? run.ask : open)();
}

/** The two charts of loss and accuracy. */
function mountCurves() {
  const [first, second] = [el("div"), el("div")];
  const loss = lines(first, {title: "Loss"});
  const accuracy = lines(second, {title: "Accuracy", top: 1, floors: [0, 0.5, 0.8, 0.9, 0.95]});
  const log = el("input", {type: "checkbox", id: "loss-log", onchange: () => redraw()});
  let redraw = () => {};
  const parts = part("train-curves", "Curves", first, second,
    el("p", {class: "field"}, log, el("label", {for: "loss-log"}, "loss on a logarithmic axis")));
  return {
    element: parts,
    show(curves, {at}) {
      redraw = () => {
        loss.update(series(curves, "losses"), {at, log: log.checked});
        accuracy.update(series(curves, "accuracies"), {at});
      };
      redraw();
    },
  };
}

/** The batches thin, their mean strong, the test digits dashed with markers. */
function series(curves, name) {
  const {steps, tests} = curves;
  const [x, y] = [steps, curves[name]];
  return [
    {name: "batch", x, y, colour: "accent", soft: true},
    {name: "training", x, y: smoothed(y), colour: "accent"},
    {name: "test", x: tests.steps, y: tests[name], colour: "accent2", dash: [6, 3],
      marker: true},
  ].filter((one) => one.x.length > 0 && one.y.some((value) => !Number.isNaN(value)));
}
