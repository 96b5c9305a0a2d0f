/** A weight and its gradient written out; the weights of a layer that matter most. */

import {source} from "nanocnn/source.js";
import {activationOf, normalization} from "nanocnn/forward.js";
import {parse, size, unflat, uses} from "nanocnn/reach.js";
import {trained, weightActions} from "nanocnn/nudge.js";
import {short} from "nanocnn/numbers.js";
import {
  about, at, cellLink, exact, formula, heading, jump, ledger, list, p, previous, read,
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

/** The panel of a weight: [elements]. */
export async function weightView(layer, {name, index}) {
  const shape = layer.params[name];
  const value = (await read(layer, `param:${name}`, shape, [index]))(index);
  const shown = [`${name}${at(index)}`, exact(value, `param:${name}`, layer, index)];
  if (!trained(layer).includes(name)) {
    return [ledger(shown), p("It has no gradient: the optimizer does not change it.")];
  }
  const gradient = (await read(layer, `grad:${name}`, shape, [index]))(index);
  const rule = layer.backward?.[`d${name}`];
  const parts = await sum(layer, name, index);
  return [
    ledger(shown, [`dL/d${name}${at(index)}`, exact(gradient, `grad:${name}`, layer, index)]),
    p(el("strong", {}, direction(gradient)), gradient === 0 ? "" : " A small change e of it "
      + `changes the loss by about e * ${short(gradient, 3)}.`),
    ...weightActions(layer, name, index),
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
  if (!places) return [p("How it is summed is in the layer's own backward.")];
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
  if (known.asks) {
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
