/** The confusion matrix of the test digits: on demand, after each epoch and at a pause. */
import {source} from "nanocnn/source.js";
import {confusion} from "nanocnn/tables.js";
import {button, el, part, setText} from "nanocnn/widgets.js";

/** The matrix with its button. */
export function mountConfusion() {
  const known = {epoch: null, step: null, running: false, busy: false, refused: false};
  const count = async () => {
    if (known.busy) {
      return;
    }
    known.busy = true;
    try {
      const {arrays} = await source.call("confusion");
      matrix.update(arrays[0].data, source.session.labels);
      known.step = known.now;
      setText(when, `at step ${known.step}`);
    } catch (error) {
      known.refused = error.status === 400; // there are no classes to count
      setText(when, error.message);
    }
    known.busy = false;
  };
  const when = el("span", {class: "note"});
  const update = button("confusion-update", "Count now", count);
  const holder = el("div", {class: "matrix"});
  const matrix = confusion(holder);
  const element = part("train-confusion", "What is taken for what",
    el("div", {class: "toolbar"}, update, when), holder);
  return {
    element,
    show({epoch, step, at, running}) {
      element.hidden = !source.session.tests || !source.session.labels.length || known.refused;
      const ended = known.epoch !== null && epoch > known.epoch && at === null;
      const paused = known.running && !running;
      Object.assign(known, {epoch, running, now: step});
      if (!element.hidden && (ended || paused || known.step === null)) {
        known.step ??= step;
        count();
      }
    },
  };
}
