/** A weight: its gradient written out, what a small change of it does, and a step of training. */

import {source} from "nanocnn/source.js";
import {activationOf, normalization} from "nanocnn/forward.js";
import {parse, size, unflat, uses} from "nanocnn/reach.js";
import {short} from "nanocnn/numbers.js";
import {
  about, at, cellLink, exact, formula, full, heading, jump, ledger, list, previous, read, say,
  sourceText, termTable, total, weightState,
} from "nanocnn/terms.js";
import {el} from "nanocnn/widgets.js";

const MOST = 1 << 18; // numbers of a parameter that the page itself searches

/** "kernel:2,3,0,7" as {name, index} of a parameter of this layer, or null. */
export function parseWeight(layer, words) {
  const [name, place] = (words ?? "").split(":");
  const shape = layer?.params[name];
  if (!shape) return null;
  const index = shape.length ? parse(place, shape) : [];
  return index && {name, index};
}

/** The names of a layer's parameters that have gradients. */
const trained = (layer) => layer.trained ?? Object.keys(layer.params);

/** The panel of a weight: [elements]. */
export async function weightView(layer, {name, index}) {
  const shape = layer.params[name];
  const value = (await read(layer, `param:${name}`, shape, [index]))(index);
  const shown = [`${name}${at(index)}`, exact(value, `param:${name}`, layer, index)];
  if (!trained(layer).includes(name)) {
    return [ledger(shown), say("It has no gradient: the optimizer does not change it.")];
  }
  const gradient = (await read(layer, `grad:${name}`, shape, [index]))(index);
  const rule = layer.backward?.[`d${name}`];
  const parts = await sum(layer, name, index);
  return [
    ledger(shown, [`dL/d${name}${at(index)}`, exact(gradient, `grad:${name}`, layer, index)]),
    say(el("strong", {}, direction(gradient)), gradient === 0 ? "" : " A small change e of it "
      + `changes the loss by about e * ${short(gradient, 3)}.`),
    ...actions(layer, name, index),
    heading("The gradient written out"),
    rule ? formula(rule.formula) : null, ...parts, sourceText(rule),
  ];
}

/** What the sign of a gradient says. */
export function direction(gradient) {
  if (gradient === 0) return "A small change of it does not change the loss of this digit.";
  if (!Number.isFinite(gradient)) return "Its gradient is not a finite number.";
  const verb = gradient > 0 ? "Lowering" : "Raising";
  return `${verb} it lowers the loss.`;
}

/** The terms of a parameter's gradient. */
async function sum(layer, name, index) {
  const places = uses(layer, name, index);
  if (!places) return [say("How it is summed is in the layer's own backward.")];
  const d = activationOf(layer) ? "dz" : "dy";
  const array = name === "kernel" || name === "bias" ? "dz" : "dy";
  const froms = places.map(({from}) => from);
  const scaled = name === "kernel" || name === "gamma";
  const [dy, x, norm] = await Promise.all([
    read(layer, array, layer.output_shape, places.map(({to}) => to)),
    scaled ? read(layer, "x", layer.input_shape, froms) : null,
    name === "gamma" ? normalization(layer, index) : null,
  ]);
  const xhat = (from) => (x(from) - norm.mean) / Math.sqrt(norm.variance + norm.epsilon);
  const factor = (from) => (name === "gamma" ? xhat(from) : name === "kernel" ? x(from) : 1);
  const middle = (from) => {
    if (name === "gamma") return [about(xhat(from))];
    if (name !== "kernel") return [];
    return [cellLink(previous(layer), from, from ? exact(x(from), "x", layer, from) : "0")];
  };
  const terms = places.map(({from, to}) => ({
    label: () => cellLink(layer, to),
    parts: () => [...middle(from), exact(dy(to), array, layer, to)],
    product: factor(from) * dy(to),
  }));
  const letter = name === "gamma" ? "xhat" : name === "kernel" ? "x" : "";
  const product = letter ? `${letter} * ${d}` : d;
  return [
    ledger([`sum of ${terms.length} ${letter ? "products " : ""}${product}`,
      about(total(terms), 5)]),
    termTable(terms, ["output", ...(letter ? [letter] : []), `dL/d${d[1]}`, product],
      "Every output that this weight takes part in; an L2 penalty adds its own term"),
  ];
}

/** Buttons that ask the server: nudge, gradient check, optimizer step. */
function actions(layer, name, index) {
  if (source.static) return [];
  const where = {layer: layer.name, name, index};
  const out = el("div", {class: "answer", "aria-live": "polite"});
  const input = el("input", {type: "number", id: "nudge-e", value: "0.001", step: "any"});
  const ask = (action, body, show) => async () => {
    out.setAttribute("aria-busy", "true");
    try {
      out.replaceChildren(...[show(await source.call(action, body()))].flat());
    } catch (error) {
      out.replaceChildren(el("p", {class: "error"}, error.message));
    }
    out.removeAttribute("aria-busy");
  };
  const nudge = ask("nudge", () => ({...where, e: input.valueAsNumber || 0.001}), nudged);
  input.addEventListener("keydown", (event) => event.key === "Enter" && nudge());
  const button = (id, words, onclick) => el("button", {type: "button", id, onclick}, words);
  return [
    el("div", {class: "toolbar"},
      el("label", {for: "nudge-e"}, "Nudge this weight by e ="), input,
      button("nudge", "Nudge", nudge),
      button("gradcheck", `Check all gradients of ${name}`,
        ask("gradcheck", () => ({layer: layer.name, name}), checked)),
      button("step-weight", "One optimizer step", ask("step", () => where, stepped))),
    out,
  ];
}

/** The answer of `nudge`: the difference quotient beside the gradient. */
function nudged(answer) {
  const line = (words, value, digits) => [words, el("span", {
    class: "number", "data-what": words, "data-value": String(value),
  }, digits ? short(Number(value), digits) : full(Number(value)))];
  const {before, after, quotient, exact: double, gradient} = answer;
  return [
    ledger(line("loss before", before), line("loss with w + e", after),
      line("change of the loss", after - before, 6),
      line("(L(w + e) - L(w - e)) / 2e", quotient, 8),
      line("the same in float64", double.quotient, 8), line("gradient", gradient)),
    el("p", {class: "quiet"}, "The weight is as before: the nudge was only tried."),
  ];
}

function checked({checked: count, wrong, error, text}) {
  const good = !(wrong > 0);
  const words = `${count} gradients compared with difference quotients in float64: `
    + `${good ? "all agree" : `${wrong} differ`}; largest difference ${short(Number(error), 3)}.`;
  return [el("p", {class: good ? "good" : "error"}, words),
    text ? el("details", {}, el("summary", {}, "In detail"), el("pre", {}, text)) : null]
    .filter(Boolean);
}

/** The answer of `step`: every number of one optimizer step, whatever its optimizer keeps. */
function stepped(answer) {
  const number = (value) => (typeof value === "number" ? full(value) : String(value));
  const lines = flatten(answer.terms ?? answer)
    .map(([words, value]) => [words, el("span", {class: "number"}, number(value))]);
  return [
    ledger(...lines),
    el("p", {class: "quiet"}, "The weight is as before: the step was only computed."),
  ];
}

/** Numbers and texts of nested objects as [words, value]; {formula, value} is one line. */
function flatten(value, lead = "") {
  return Object.entries(value).flatMap(([name, each]) => {
    if (name === "arrays" || name === "version" || each === null) return [];
    const words = [lead, name.replaceAll("_", " ")].filter(Boolean).join(", ");
    const pair = Array.isArray(each) && typeof each[0] === "string" ? each : null;
    const [rule, number] = pair ?? [each.formula, each.value];
    if (number !== undefined && rule !== undefined) return [[rule ? rule : words, number]];
    if (Array.isArray(each)) return [[words, each.join(", ")]];
    return typeof each === "object" ? flatten(each, words) : [[words, each]];
  });
}

const known = {version: null, layers: new Map(), all: null, asks: true};

/** Of a layer's trained parameters the weights with the largest |gradient|, the largest first. */
async function extremesOf(layer) {
  if (known.version !== source.info.version) {
    Object.assign(known, {version: source.info.version, layers: new Map(), all: null});
  }
  if (!known.layers.has(layer.name)) known.layers.set(layer.name, search(layer));
  const found = await known.layers.get(layer.name);
  return found.sort((a, b) => Math.abs(b.gradient) - Math.abs(a.gradient));
}

/** The server knows all; without its help, what is small enough is searched here. */
async function search(layer) {
  if (known.asks && !source.static) {
    try {
      known.all ??= source.call("largest", {});
      const {layers} = await known.all;
      return Object.entries(layers[layer.name] ?? {}).map(([name, {index, gradient}]) =>
        ({name, index, gradient: Number(gradient)}));
    } catch (error) {
      if (error.status === 0 || error.status === 410) throw error;
      known.asks = false;
    }
  }
  const names = trained(layer).filter((name) => size(layer.params[name]) <= MOST);
  return Promise.all(names.map(async (name) => {
    const shape = layer.params[name];
    const grads = await list(layer, `grad:${name}`, shape);
    const place = grads.reduce((best, g, i) => (Math.abs(g) > Math.abs(grads[best]) ? i : best), 0);
    return {name, index: unflat(place, shape), gradient: grads[place]};
  }));
}

/** "Which weight would change the loss most?": a line a parameter, each a link; or null. */
export async function extremesView(layer) {
  const found = await extremesOf(layer).catch(() => []);
  if (!found.length) return null;
  const lines = found.map(({name, index, gradient}) => el("li", {},
    jump(weightState(layer, name, index), `${name}${at(index)}`), ": gradient ",
    exact(gradient, `grad:${name}`, layer, index), `. ${direction(gradient)}`));
  return el("div", {class: "extremes"},
    el("p", {}, `Which weight of ${layer.name} would change this digit's loss most?`),
    el("ul", {}, ...lines));
}
