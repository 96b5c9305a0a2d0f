/** Back to a kept step of the training, and on from there. */
import {source} from "nanocnn/source.js";
import {button, el, setText} from "nanocnn/widgets.js";

/** A slider over the kept steps; `control` sends the action "train", `failed` says why not. */
export function mountScrub({control, ask, failed}) {
  const known = {kept: [], wanted: null, busy: false};
  const slider = el("input", {type: "range", id: "train-scrub", min: 0, max: 0, step: 1, value: 0,
    "aria-label": "kept step", oninput: () => go(known.kept[Number(slider.value)])});
  const label = el("output", {class: "number", id: "train-scrub-step", for: "train-scrub"});
  const note = el("p", {class: "note"});
  const onward = button("train-continue", "Continue from here", () => control({do: "start"}));
  const follow = button("train-follow", "Follow the newest step", () => go(null));
  const go = async (step) => {
    known.wanted = step;
    setText(label, step === null ? "" : `step ${step}`);
    if (known.busy) {
      return;
    }
    known.busy = true;
    try {
      while (known.wanted !== undefined) {
        const next = known.wanted;
        known.wanted = undefined;
        await source.call("scrub", {step: next});
      }
      failed(null);
    } catch (error) {
      failed(error.message);
    }
    known.busy = false;
    ask();
  };
  return {
    element: el("div", {class: "scrub"}, el("div", {class: "toolbar"}, slider, label),
      el("div", {class: "toolbar"}, onward, follow), note),
    show({kept, at, live, running}) {
      const back = at !== null && at !== undefined;
      known.kept = kept;
      slider.max = Math.max(0, kept.length - 1);
      slider.disabled = kept.length < 2;
      if (!known.busy) {
        const place = back ? kept.indexOf(at) : kept.length - 1;
        slider.value = Math.max(0, place);
        const step = kept[Math.max(0, place)];
        setText(label, step === undefined ? "" : `step ${step}`);
        slider.setAttribute("aria-valuetext", `step ${step ?? 0}`);
      }
      onward.hidden = live;
      onward.disabled = !back || running;
      follow.hidden = !live;
      follow.disabled = !back;
      setText(note, noteText(kept, back, live));
    },
  };
}

/** What the slider does, or what going on from here means. */
function noteText(kept, back, live) {
  if (kept.length < 2) {
    return "Steps are kept while it trains; then this slider goes back to any of them.";
  }
  if (!back) {
    return `${kept.length} steps are kept. Going back pauses the training${live
      ? " on the page, not in the script" : ""}.`;
  }
  return live ? "The whole page shows this step."
    : "The whole page shows this step. Going on from here forgets the later ones.";
}
