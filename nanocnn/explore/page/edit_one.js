/** The editor of one weight: its number, steps up and down, and back to what it was. */
import {short, text} from "nanocnn/numbers.js";
import {source} from "nanocnn/source.js";
import {button, el, labelled, setText} from "nanocnn/widgets.js";

/** The row of controls; `act` asks the server. */
export function mountOneWeight(act) {
  const shown = {key: "", layer: null};
  const first = {step: -1, values: new Map()}; // what weights were before the reader changed them
  const title = el("h4", {class: "number", id: "weight-title"});
  const put = (value) => putWeight(act, shown, first, value);
  const input = el("input", {type: "text", inputmode: "decimal", id: "weight-value",
    autocomplete: "off", spellcheck: "false", class: "number",
    onchange: () => put(Number(input.value.replaceAll("−", "-").replace(",", ".")))});
  const by = el("input", {type: "number", id: "weight-by", min: 0, step: "any", value: 0.1});
  const step = (sign) => put(shown.value + sign * Number(by.value));
  const reset = button("weight-reset", "As it was", () => put(first.values.get(shown.key)));
  const about = el("p", {class: "note", id: "weight-about"});
  return {
    element: el("div", {class: "one-weight"}, title,
      el("div", {class: "toolbar"}, labelled("value", input),
        button("weight-minus", "−", () => step(-1), {"aria-label": "less, by the step"}),
        button("weight-plus", "+", () => step(1), {"aria-label": "more, by the step"}),
        labelled("step", by)),
      el("div", {class: "toolbar"}, button("weight-zero", "Set to 0", () => put(0)),
        button("weight-flip", "Change sign", () => put(-shown.value)), reset), about),
    async draw({layer, name, index, value, dtype, whole}) {
      const key = `${layer.name}/${name}[${index.join(", ")}]`;
      if (shown.key !== key) {
        by.value = roundStep(Math.max(...whole.map(Math.abs)) / 5);
      }
      const moved = shown.key !== key || !Object.is(shown.value, value);
      Object.assign(shown, {key, layer, name, index, value});
      if (first.step !== source.info.step || !source.info.edits) {
        Object.assign(first, {step: source.info.step, values: new Map()});
      }
      setText(title, key);
      if (moved || document.activeElement !== input) {
        input.value = text(value, dtype).replaceAll("−", "-");
      }
      const was = first.values.get(key);
      reset.disabled = was === undefined || Object.is(was, value);
      setText(reset, was === undefined ? "As it was" : `As it was: ${short(was, 3)}`);
      setText(about, await gradientText(shown));
    },
  };
}

/** Sends a new value and remembers what stood there first. */
function putWeight(act, shown, first, value) {
  const {layer, name, index, key} = shown;
  if (!first.values.has(key)) {
    first.values.set(key, shown.value);
  }
  return act("edit", {kind: "weight", layer: layer.name, name, index,
    value: Number.isFinite(value) ? value : String(value)});
}

/** A tenth, a fifth or a half of a power of ten near `value`. */
function roundStep(value) {
  const power = 10 ** Math.floor(Math.log10(value > 0 && Number.isFinite(value) ? value : 1));
  const factor = [5, 2, 1].find((one) => one * power <= value) ?? 1;
  return Number((factor * power).toPrecision(2));
}

/** Which way the loss of this digit moves with this weight. */
async function gradientText({layer, name, index}) {
  if (layer.trained && !layer.trained.includes(name)) {
    return "Kept as a running mean of the training; no gradient changes it.";
  }
  try {
    const slice = index.map((k) => [k, k + 1]);
    const {data} = await source.array({layer: layer.name, what: `grad:${name}`, index: slice});
    const [gradient] = data;
    const way = gradient > 0 ? "less of it lowers the loss of this digit"
      : gradient < 0 ? "more of it lowers the loss of this digit"
        : "a small change does not move the loss of this digit";
    return `dL/dw = ${short(gradient, 3)}: ${way}.`;
  } catch {
    return "";
  }
}
