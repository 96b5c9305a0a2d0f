/** Digits of the test set: by class, the hardest, the wrong ones. */

import {state} from "nanocnn/state.js";
import {source} from "nanocnn/source.js";
import {paint} from "nanocnn/colours.js";
import {short, count} from "nanocnn/numbers.js";
import {make} from "nanocnn/dom.js";
import {say} from "nanocnn/message.js";

const SHOWN = 40;
let list = null;
let noun = "";

/** Build the choice; the digits are asked for when it is opened. */
export function mount(element) {
  const {labels = [], tests} = source.session;
  noun = source.session.can_draw ? "test digit" : "sample";
  const option = (value, label) => make("option", {value}, label);
  const by = make("select", {id: "pick-by"},
    option("random", "at random"), option("hardest", "hardest"), option("wrong", "read wrong"),
    ...labels.map((label, k) => option(`class:${k}`, `class ${label}`)));
  by.setAttribute("aria-label", `Which ${noun}s`);
  const again = make("button", {type: "button", id: "pick-again"}, "Show");
  list = make("div", {className: "maps", id: "picks"});
  const box = make("details", {id: "picker"},
    make("summary", {}, `Pick one of ${count(tests)} ${noun}s`),
    make("div", {className: "toolbar"}, by, again), list);
  const load = () => pick(by.value).catch((error) => say(error.message, true));
  by.addEventListener("change", load);
  again.addEventListener("click", load);
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
    const canvas = make("canvas", {});
    paint(canvas, data.subarray(i * size, (i + 1) * size), h, w, [0, 255], {kind: "image"});
    const isWrong = labels && predicted[i] !== labels[i];
    const known = labels ? `: a ${labels[i]}, read as ${predicted[i]}` : "";
    const about = `${noun} ${index}${known}, loss ${short(Number(losses[i]))}`;
    const button = make("button", {
      type: "button", className: `pick${isWrong ? " wrong" : ""}`, title: about,
      data: {digit: `test:${index}`},
    }, canvas);
    button.setAttribute("aria-label", about);
    button.addEventListener("click", () => {
      state.set({digit: `test:${index}`, label: null}, {push: true});
    });
    return button;
  }));
  if (!indices.length) {
    list.append(make("p", {className: "note"}, "There are none."));
  }
  mark();
}

function mark() {
  for (const button of list.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", button.dataset.digit === state.get("digit"));
  }
}
