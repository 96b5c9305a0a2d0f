/** Digits of the test set: by class, the hardest, the wrong ones. */

import {state} from "nanocnn/state.js";
import {source} from "nanocnn/source.js";
import {paint} from "nanocnn/colours.js";
import {short, count} from "nanocnn/numbers.js";
import {button, choice, el} from "nanocnn/widgets.js";
import {say} from "nanocnn/message.js";

const SHOWN = 40;
let list = null;
let noun = "";

/** Build the choice; the digits are asked for when it is opened. */
export function mount(element) {
  const {labels = [], tests} = source.session;
  noun = source.session.can_draw ? "test digit" : "sample";
  const load = () => pick(by.value).catch((error) => say(error.message, true));
  const by = choice("pick-by", [["random", "at random"], ["hardest", "hardest"],
    ["wrong", "read wrong"], ...labels.map((label, k) => [`class:${k}`, `class ${label}`])], load);
  by.setAttribute("aria-label", `Which ${noun}s`);
  const again = button("pick-again", "Show", load);
  list = el("div", {class: "maps", id: "picks"});
  const box = el("details", {id: "picker"},
    el("summary", {}, `Pick one of ${count(tests)} ${noun}s`),
    el("div", {class: "toolbar"}, by, again), list);
  box.addEventListener("toggle", () => box.open && !list.children.length && load());
  element.append(box);
  state.on(["digit"], mark);
}

async function pick(by) {
  const {indices, labels, predicted, losses, arrays} = await source.call("pick",
    {by, count: SHOWN});
  const [{data, shape}] = arrays;
  const [, h, w] = shape;
  const size = h * w;
  list.replaceChildren(...indices.map((index, i) => {
    const canvas = el("canvas", {});
    paint(canvas, data.subarray(i * size, (i + 1) * size), h, w, [0, 255], {kind: "image"});
    const isWrong = labels && predicted[i] !== labels[i];
    const known = labels ? `: a ${labels[i]}, read as ${predicted[i]}` : "";
    const about = `${noun} ${index}${known}, loss ${short(Number(losses[i]))}`;
    const button = el("button", {
      type: "button", class: `pick${isWrong ? " wrong" : ""}`, title: about,
      "data-digit": `test:${index}`,
    }, canvas);
    button.setAttribute("aria-label", about);
    button.addEventListener("click", () => {
      state.set({digit: `test:${index}`, label: null}, {push: true});
    });
    return button;
  }));
  if (!indices.length) {
    list.append(el("p", {class: "note"}, "There are none."));
  }
  mark();
}

function mark() {
  for (const button of list.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", button.dataset.digit === state.get("digit"));
  }
}
