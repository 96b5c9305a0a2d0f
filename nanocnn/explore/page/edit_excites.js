/** What excites a filter most among the test digits. */
import {source} from "nanocnn/source.js";
import {state} from "nanocnn/state.js";
import {short} from "nanocnn/numbers.js";
import {thumbnail} from "nanocnn/tables.js";
import {parseWeight} from "nanocnn/planes.js";
import {button, el, labelled, part, setText} from "nanocnn/widgets.js";

/** The filter whose digits are shown, a button to look for them, and the digits. */
export function mountExcites(act) {
  const shown = {key: "", layer: null};
  const channel = el("input", {type: "number", id: "excites-channel", min: 0, step: 1, value: 0,
    onchange: () => clear()});
  const note = el("p", {class: "note", id: "excites-note", role: "status"});
  const list = el("div", {class: "maps excites"});
  const find = button("excites", "Find the digits", async () => {
    const {layer} = shown;
    setText(note, "Looking through the test digits ...");
    const result = await act("excites", {layer: layer.name, channel: Number(channel.value)});
    setText(note, result ? heard(result) : "");
    list.replaceChildren(...(result ? digits(result, layer, Number(channel.value)) : []));
  });
  const clear = () => {
    list.replaceChildren();
    setText(note, "Shows the test digits at which this filter's output is largest, "
      + "with the part of the image that it looks at.");
  };
  return {
    element: part("edit-excites", "What excites a filter most",
      el("div", {class: "toolbar"}, labelled("filter", channel), find), note, list),
    refresh(layer) {
      const weight = parseWeight(state.get("weight"));
      const chosen = weight && weight.name === "kernel" ? weight.index.at(-1) : null;
      const key = `${layer.name}:${chosen}`;
      find.disabled = !source.session?.tests;
      if (shown.key !== key) {
        Object.assign(shown, {key, layer});
        channel.max = layer.output_shape.at(-1) - 1;
        channel.value = Math.min(chosen ?? Number(channel.value), Number(channel.max));
        clear();
      }
    },
  };
}

function heard({indices}) {
  return indices.length > 0 ? "Largest output first. Choose a digit to load it."
    : "No test digit moves this filter.";
}

/** A button a digit: the image, the box that the filter looks at, and the output there. */
function digits({indices, values, cells, boxes, arrays}, layer, channel) {
  const [n, h, w] = arrays[0].shape;
  return Array.from({length: n}, (_, k) => {
    const image = arrays[0].data.subarray(k * h * w, (k + 1) * h * w);
    const picture = thumbnail(image, h, w, [0, 255], {kind: "image", size: 64});
    picture.removeAttribute("role");
    const load = () => state.set({digit: `test:${indices[k]}`, layer: layer.name, view: "y",
      cell: [...cells[k].slice(0, layer.output_shape.length - 1), channel].join(",")},
    {push: true});
    const told = `test digit ${indices[k]}, output ${short(values[k])}`;
    return el("button", {type: "button", class: "map digit", onclick: load, "aria-label": told},
      el("span", {class: "boxed"}, picture, frameOf(boxes[k], h, w)),
      el("span", {class: "number"}, short(values[k])));
  });
}

/** The receptive field as a frame over the image. */
function frameOf(box, h, w) {
  if (!box) {
    return null;
  }
  const [top, left, bottom, right] = [Math.max(0, box[0]), Math.max(0, box[1]),
    Math.min(h, box[2]), Math.min(w, box[3])];
  const frame = el("span", {class: "field-frame"});
  Object.assign(frame.style, {
    top: `${(100 * top) / h}%`, left: `${(100 * left) / w}%`,
    height: `${(100 * (bottom - top)) / h}%`, width: `${(100 * (right - left)) / w}%`,
  });
  return frame;
}
