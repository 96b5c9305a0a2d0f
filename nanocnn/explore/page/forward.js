/** Where the value of a cell comes from: one explanation for each kind of layer. */

import {source} from "nanocnn/source.js";
import {activationForward, activationFormula, isActivation} from "nanocnn/activations.js";
import {flat, inputs, inside, layersOf, outputs} from "nanocnn/reach.js";
import {
  about, at, brief, cellLink, exact, formula, grids, heading, jump, ledger, p, previous, read,
  sourceText, termTable, total, weightState,
} from "nanocnn/terms.js";
import {el} from "nanocnn/widgets.js";

/** How a cell of a layer's output was computed: [elements]; layer null is the image. */
export async function forward(layer, cell) {
  if (!layer) return image(cell);
  const parts = await (EXPLAIN[kindOf(layer)] ?? unknown)(layer, cell);
  const name = activationOf(layer);
  return [
    formula(layer.formula), name ? activationFormula(layer) : null, ...parts,
    sourceText(layer.forward),
    name ? sourceText(layer.activation_forward ?? {function: `${name}_forward`}) : null,
  ];
}

/** The activation within a Conv2D or Dense, or "". */
export const activationOf = (layer) =>
  isLinear(layer) && layer.activation !== "linear" ? layer.activation || "" : "";

/** Whether a layer multiplies by a kernel. */
export const isLinear = ({operation, custom}) =>
  !custom && (operation === "conv2d" || operation === "dense");

/** Which explanation a layer needs; forward and backward have one each. */
export function kindOf(layer) {
  const {custom, reach, operation, kind, random} = layer;
  if (custom || reach.kind === "unknown") return "unknown";
  if (isLinear(layer)) return "linear";
  if (kind === "BatchNormalization") return "batchNorm";
  if (kind === "Rescaling" || kind === "Normalization") return "affine";
  if (kind === "Dropout") return "dropout";
  if (random) return source.info.training ? "unknown" : "identity";
  if (operation === "max_pool") return "maxPool";
  if (operation === "global_max") return "globalMax";
  if (operation === "average_pool") return "averagePool";
  if (operation === "zero_pad") return "zeroPad";
  if (reach.kind === "reshape") return "reshape";
  if (isActivation(operation)) return "activation";
  return "unknown";
}

async function image(cell) {
  const x = await read(null, "x", source.model.input.shape, [cell]);
  const [first] = layersOf(source.model);
  const outs = outputs(first, cell) ?? [];
  return [
    p("A number of the input: what is drawn, as the network reads it."),
    ledger([`x${at(cell)}`, exact(x(cell), "x", null, cell)]),
    outs.length ? p(`It takes part in ${outs.length} numbers of ${first.name}, such as `,
      cellLink(first, outs[outs.length >> 1].cell), ".") : null,
  ];
}

async function unknown(layer, cell) {
  const y = await read(layer, "y", layer.output_shape, [cell]);
  const what = layer.custom
    ? `${layer.kind} is a layer of your own: its forward computes this number from its input, and `
      + "what it does inside is in your code."
    : `${layer.kind} moves pixels by random amounts while training: this number is a mix of `
      + "neighbouring pixels of its input. Without training the layer changes nothing.";
  return [p(what), ledger([`y${at(cell)}`, exact(y(cell), "y", layer, cell)])];
}

/** Convolution and dense: the sum of products, the bias, the activation. */
async function linear(layer, cell) {
  const terms = inputs(layer, cell);
  const last = cell[cell.length - 1];
  const before = previous(layer);
  const biased = "bias" in layer.params;
  const [x, w, z, b] = await Promise.all([
    read(layer, "x", layer.input_shape, terms.map((term) => term.cell)),
    read(layer, "param:kernel", layer.params.kernel, terms.map(({weight}) => weight)),
    read(layer, "z", layer.output_shape, [cell]),
    biased ? read(layer, "param:bias", layer.params.bias, [[last]]) : null,
  ]);
  const pair = ({cell: from, weight}, number) => [
    from ? cellLink(before, from, number(x(from), "x", layer, from)) : el("span", {}, "0"),
    weightLink(layer, "kernel", weight, w(weight), number),
  ];
  const full = terms.map((term) => ({
    ...term,
    product: x(term.cell) * w(term.weight),
    label: () => cellLink(before, term.cell),
    parts: () => pair(term, exact),
    tight: () => pair(term, brief),
  }));
  const name = activationOf(layer);
  const result = name ? "z" : "y";
  const picture = layer.reach.kind === "window"
    ? [heading("The window, channel by channel"), grids(full, layer.reach.size), allTerms(full)]
    : [heading("The sum, its largest terms first"), products(full)];
  return [
    ledger(
      [`sum of ${terms.length} products x * w`, about(total(full), 5)],
      biased && [
        ["+ ", jump(weightState(layer, "bias", [last]), `bias[${last}]`)],
        exact(b([last]), "param:bias", layer, [last]),
      ],
      [`= ${result}${at(cell)}`, exact(z(cell), "z", layer, cell)],
    ),
    ...(name ? await activationForward(layer, name, "z", cell) : []),
    ...picture,
  ];
}

const products = (terms) =>
  termTable(terms, ["from", "x", "w", "x * w"],
    "Products are rounded here; the kernel adds them in the model's precision");

/** The same terms as a table, in full, made when it is opened. */
function allTerms(terms) {
  const details = el("details", {}, el("summary", {}, `The ${terms.length} terms as a list`));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(products(terms));
  });
  return details;
}

/** A link to a weight that shows its value. */
export const weightLink = (layer, name, index, value, number = exact) =>
  jump(weightState(layer, name, index), number(value, `param:${name}`, layer, index));

/** The cells of a pooling window with their numbers, and the one result. */
async function pooled(layer, cell) {
  const cells = inputs(layer, cell).filter((term) => term.cell);
  const [x, y] = await Promise.all([
    read(layer, "x", layer.input_shape, cells.map((term) => term.cell)),
    read(layer, "y", layer.output_shape, [cell]),
  ]);
  return {cells, x, result: exact(y(cell), "y", layer, cell)};
}

async function maxPool(layer, cell) {
  const [{x, result}, argmax] = await Promise.all([
    pooled(layer, cell), read(layer, "saved:argmax", layer.output_shape, [cell]),
  ]);
  const [height, width] = layer.reach.size;
  const won = argmax(cell);
  return [
    heading("The window; the marked cell won"),
    windowTable(layer, inputs(layer, cell), x, [height, width], (place) => place === won),
    ledger(
      ["winner, kh * KW + kw", exact(won, "saved:argmax", layer, cell)],
      [`y${at(cell)}, the largest`, result],
    ),
  ];
}

/** A window of cells as a grid; those that `marked` says stand out. */
function windowTable(layer, terms, x, [height, width], marked) {
  const before = previous(layer);
  const one = (term, place) => {
    const number = term.cell ? exact(x(term.cell), "x", layer, term.cell) : "padding";
    const wins = marked(place);
    return el("td", {class: wins ? "won" : null}, cellLink(before, term.cell, number),
      wins ? el("span", {class: "mark"}, " wins") : null);
  };
  const rows = Array.from({length: height}, (_, row) =>
    el("tr", {}, ...terms.slice(row * width, (row + 1) * width)
      .map((term, column) => one(term, row * width + column))));
  return el("div", {class: "scroll"},
    el("table", {class: "window", "aria-label": "cells of the window"}, el("tbody", {}, ...rows)));
}

async function averagePool(layer, cell) {
  const {cells, x, result} = await pooled(layer, cell);
  const share = 1 / cells.length;
  const terms = cells.map((term) => ({
    label: () => cellLink(previous(layer), term.cell),
    parts: () => [exact(x(term.cell), "x", layer, term.cell)],
    product: x(term.cell) * share,
  }));
  return [
    ledger(
      [`sum of ${cells.length} cells`, about(total(terms) / share)],
      [`y${at(cell)} = sum / ${cells.length}`, result],
    ),
    termTable(terms, ["cell", "x", `x / ${cells.length}`], "Cells of the padding do not count"),
  ];
}

async function globalMax(layer, cell) {
  const {cells, x, result} = await pooled(layer, cell);
  const most = cells.reduce((best, term) => (x(term.cell) > x(best.cell) ? term : best));
  return [
    ledger(
      [`the largest of ${cells.length} cells, at `, cellLink(previous(layer), most.cell)],
      [`x${at(most.cell)}`, exact(x(most.cell), "x", layer, most.cell)],
      [`y${at(cell)}`, result],
    ),
  ];
}

/** The numbers of a channel's normalization; gamma and beta are 1 and 0 if they are no weights. */
export async function normalization(layer, cell) {
  const c = [cell[cell.length - 1]];
  const count = [layer.output_shape[layer.output_shape.length - 1]];
  const param = (name) => (name in layer.params ? read(layer, `param:${name}`, count, [c]) : null);
  const [mean, variance, gamma, beta] = await Promise.all([
    read(layer, "saved:mean", count, [c]), read(layer, "saved:variance", count, [c]),
    param("gamma"), param("beta"),
  ]);
  return {
    c, gamma, beta, mean: mean(c), variance: variance(c), epsilon: layer.options?.epsilon ?? 1e-3,
    scale: gamma ? gamma(c) : 1, shift: beta ? beta(c) : 0,
  };
}

async function batchNorm(layer, cell) {
  const [{c, gamma, beta, mean, variance, epsilon, scale, shift}, x, y] = await Promise.all([
    normalization(layer, cell), read(layer, "x", layer.input_shape, [cell]),
    read(layer, "y", layer.output_shape, [cell]),
  ]);
  const xhat = (x(cell) - mean) / Math.sqrt(variance + epsilon);
  const of = source.info.training && layer.trainable
    ? "of this channel in the batch (here: this one digit)"
    : "of this channel, the moving average of the training";
  return [
    ledger(
      [["x", cellLink(previous(layer), cell)], exact(x(cell), "x", layer, cell)],
      [`mean ${of}`, exact(mean, "saved:mean", layer, c)],
      [`variance ${of}`, exact(variance, "saved:variance", layer, c)],
      [`xhat = (x - mean) / sqrt(variance + ${epsilon})`, about(xhat)],
      ["gamma", gamma ? weightLink(layer, "gamma", c, scale) : "1"],
      ["beta", beta ? weightLink(layer, "beta", c, shift) : "0"],
      [`y${at(cell)} = gamma * xhat + beta`, exact(y(cell), "y", layer, cell)],
    ),
  ];
}

/** A constant that is one number or one a channel; null if the description has none. */
function constant(layer, name, cell) {
  const value = layer.options?.[name] ?? null;
  return Array.isArray(value) ? value[value.length > 1 ? cell[cell.length - 1] : 0] : value;
}

/** One cell in, one cell out: its number before and after, with `rows` between. */
async function single(layer, cell, from, rows, words) {
  const [x, y] = await Promise.all([
    read(layer, "x", layer.input_shape, [from]), read(layer, "y", layer.output_shape, [cell]),
  ]);
  return [
    ledger(
      [["x", cellLink(previous(layer), from)], exact(x(from), "x", layer, from)], ...rows,
      [`y${at(cell)}${words}`, exact(y(cell), "y", layer, cell)],
    ),
  ];
}

/** The constants of a Rescaling or Normalization at a cell, as lines of a ledger. */
export function constants(layer, cell, names) {
  return Promise.all(names.map(async (name) => {
    if (!(name in layer.params)) {
      const number = constant(layer, name, cell);
      return number === null ? null : [name, about(number, 6)];
    }
    const index = layer.params[name].length ? [cell[cell.length - 1]] : [];
    const number = await read(layer, `param:${name}`, layer.params[name], [index]);
    return [name, exact(number(index), `param:${name}`, layer, index)];
  }));
}

async function affine(layer, cell) {
  const names = layer.kind === "Rescaling" ? ["scale", "offset"] : ["mean", "variance"];
  return single(layer, cell, cell, await constants(layer, cell, names), "");
}

async function dropout(layer, cell) {
  if (!source.info.training || !layer.rate) {
    const parts = await single(layer, cell, cell, [], " = x");
    return [p("Dropout only acts while training: here it passes every number on."), ...parts];
  }
  const mask = await read(layer, "saved:mask", layer.output_shape, [cell]);
  const kept = mask(cell);
  return single(layer, cell, cell, [
    [`mask: ${kept ? "kept" : "dropped"}`, exact(kept, "saved:mask", layer, cell)],
    [`scale = 1 / (1 - ${layer.rate})`, about(1 / (1 - layer.rate))],
  ], " = x * mask * scale");
}

async function zeroPad(layer, cell) {
  const [{cell: from}] = inputs(layer, cell);
  if (from && inside(from, layer.input_shape)) return single(layer, cell, from, [], " = x");
  const y = await read(layer, "y", layer.output_shape, [cell]);
  return [
    p("A zero of the padding: it does not depend on the image."),
    ledger([`y${at(cell)}`, exact(y(cell), "y", layer, cell)]),
  ];
}

async function reshape(layer, cell) {
  const [{cell: from}] = inputs(layer, cell);
  const place = flat(cell, layer.output_shape);
  const parts = await single(layer, cell, from, [], " = x");
  return [p(`Nothing is computed: number ${place} of the layer before, counted along the last `
    + "axis first, only has another index."), ...parts];
}

const EXPLAIN = {
  linear, maxPool, averagePool, globalMax, batchNorm, affine, dropout, zeroPad, reshape,
  identity: async (layer, cell) => [
    p("Outside training this layer changes nothing."),
    ...(await single(layer, cell, cell, [], " = x")),
  ],
  activation: async (layer, cell) => {
    const x = await read(layer, "x", layer.input_shape, [cell]);
    return [
      ledger([["x", cellLink(previous(layer), cell)], exact(x(cell), "x", layer, cell)]),
      ...(await activationForward(layer, layer.operation, "x", cell)),
    ];
  },
};
