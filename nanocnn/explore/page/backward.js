/** Where the gradient of a cell comes from: the layer behind it, and its own activation. */

import {source} from "nanocnn/source.js";
import {activationBackward, isFused} from "nanocnn/activations.js";
import {
  activationOf, constants, isLinear, kindOf, normalization, weightLink,
} from "nanocnn/forward.js";
import {everything, indices, inputs, layersOf, outputs, rowOf} from "nanocnn/reach.js";
import {
  about, at, cellLink, exact, formula, heading, jump, ledger, p, read, sourceText, termTable,
  total, weightState,
} from "nanocnn/terms.js";

/** How dL/dy of a cell of layer `place` (-1: of the image) was computed: [elements]. */
export async function backward(place, cell) {
  const layers = layersOf(source.model);
  const [layer, next] = [layers[place] ?? null, layers[place + 1] ?? null];
  const name = layer && !(isFused(layer) && !next) ? activationOf(layer) : "";
  const [first, second] = await Promise.all([
    next ? throughNext(next, cell) : lossGradient(layer, cell),
    name ? throughActivation(layer, name, cell) : [],
  ]);
  return [...first, ...second, ...(layer ? whereTo(layer, cell) : [])];
}

/** dL/dx of a layer: from the gradients of its outputs. */
async function throughNext(layer, cell) {
  const kind = kindOf(layer);
  if (kind === "activation" && isFused(layer)) return lossGradient(layer, cell);
  const parts = await (BACK[kind] ?? unknown)(layer, cell);
  const rule = layer.backward?.dx;
  return [
    p(`Through ${layer.name} (${layer.kind}), which comes next:`),
    rule ? formula(rule.formula) : null, ...parts, sourceText(rule),
  ];
}

async function throughActivation(layer, name, cell) {
  const rule = layer.backward?.dz;
  return [
    heading(`Through the ${name} of ${layer.name}`),
    rule ? formula(rule.formula) : null,
    ...(await activationBackward(layer, name, {before: "z", into: "dz"}, cell)),
    sourceText(rule ?? {function: `${name}_backward`}),
  ];
}

/** The parameters and cells that this gradient goes on to. */
function whereTo(layer, cell) {
  if (!isLinear(layer)) return [];
  const last = cell[cell.length - 1];
  const lead = layer.params.kernel.slice(0, -1).map(() => 0);
  const bias = "bias" in layer.params
    ? [" and to ", jump(weightState(layer, "bias", [last]), `bias[${last}]`)] : [];
  return [p("From here the gradient goes to the kernel, ",
    jump(weightState(layer, "kernel", [...lead, last]), `kernel${at([...lead, last])}`), " on",
    ...bias, ", and to the cells that this one was computed from.")];
}

/** The last row of a sum: the trace's dL/dx. */
const result = (layer, cell, dx, words = "") =>
  [`dL/dx${at(cell)} of ${layer.name}${words}`, exact(dx(cell), "dx", layer, cell)];

/** Reads dL/dx at the cell, and these arrays of the outputs at `cells`. */
const gather = (layer, cell, cells, ...names) => Promise.all([
  read(layer, "dx", layer.input_shape, [cell]),
  ...names.map((what) => read(layer, what, layer.output_shape, cells)),
]);

async function linear(layer, cell) {
  const outs = outputs(layer, cell);
  const [[dx, dz], w] = await Promise.all([
    gather(layer, cell, outs.map((out) => out.cell), "dz"),
    read(layer, "param:kernel", layer.params.kernel, outs.map(({weight}) => weight)),
  ]);
  const d = activationOf(layer) ? "dz" : "dy";
  const terms = outs.map((out) => ({
    label: () => cellLink(layer, out.cell),
    parts: () => [
      exact(dz(out.cell), "dz", layer, out.cell),
      weightLink(layer, "kernel", out.weight, w(out.weight)),
    ],
    product: dz(out.cell) * w(out.weight),
  }));
  return [
    ledger([`sum of ${terms.length} products ${d} * w`, about(total(terms), 5)],
      result(layer, cell, dx)),
    termTable(terms, ["output", `dL/d${d[1]}`, "w", `${d} * w`],
      `Every output of ${layer.name} that this cell goes into`),
  ];
}

/** A table of windows that hold the cell, with the share of each. */
async function shares(layer, cell, names, shareOf, heads, caption) {
  const outs = outputs(layer, cell);
  const [dx, dy, ...more] = await gather(layer, cell, outs.map((out) => out.cell), "dy", ...names);
  const terms = outs.map((out) => {
    const [words, factor] = shareOf(out, ...more);
    return {
      label: () => cellLink(layer, out.cell),
      parts: () => [exact(dy(out.cell), "dy", layer, out.cell), words],
      product: factor && dy(out.cell) * factor,
    };
  });
  if (!terms.length) {
    return [p("No window covers this cell: it changes nothing."),
      ledger(result(layer, cell, dx))];
  }
  return [
    termTable(terms, heads, caption),
    ledger(terms.length > 1 && [`sum over ${terms.length} outputs`, about(total(terms), 5)],
      result(layer, cell, dx)),
  ];
}

function maxPool(layer, cell) {
  const width = layer.reach.size[1];
  const share = ({cell: out, tap: [kh, kw]}, argmax) =>
    (argmax(out) === kh * width + kw ? ["won here", 1] : ["another cell won", 0]);
  return shares(layer, cell, ["saved:argmax"], share, ["window", "dL/dy", "", "gets"],
    "The gradient goes to the winner of each window alone");
}

function averagePool(layer, cell) {
  const share = ({cell: out}) => {
    const count = inputs(layer, out).filter((term) => term.cell).length;
    return [`1 / ${count}`, 1 / count];
  };
  return shares(layer, cell, [], share, ["window", "dL/dy", "share", "gets"],
    "Each cell of a window gets the same share of its gradient");
}

async function globalMax(layer, cell) {
  const [{cell: out}] = outputs(layer, cell);
  const cells = inputs(layer, out).map((term) => term.cell);
  const [[dx, dy, y], x] = await Promise.all([
    gather(layer, cell, [out], "dy", "y"), read(layer, "x", layer.input_shape, cells),
  ]);
  const equal = cells.filter((each) => x(each) === y(out)).length;
  return [
    ledger(
      [["dL/dy of ", cellLink(layer, out)], exact(dy(out), "dy", layer, out)],
      [x(cell) === y(out) ? `this cell is the maximum, one of ${equal}` : "another cell is larger",
        about(x(cell) === y(out) ? 1 / equal : 0)],
      result(layer, cell, dx),
    ),
  ];
}

async function batchNorm(layer, cell) {
  const shape = layer.output_shape;
  const last = cell[cell.length - 1];
  const cells = indices([...everything(shape.slice(0, -1)), [last, last + 1]]);
  const [{c, gamma, mean, variance, epsilon, scale}, [dx, dy, x]] = await Promise.all([
    normalization(layer, cell), gather(layer, cell, cells, "dy", "x"),
  ]);
  const s = 1 / Math.sqrt(variance + epsilon);
  const average = (of) => cells.reduce((sum, each) => sum + of(each), 0) / cells.length;
  const xhat = (each) => (x(each) - mean) * s;
  const moves = source.info.training && layer.trainable;
  return [
    moves ? p("Mean and variance are those of the batch, so this cell moves the others, too.")
      : p("Mean and variance are constants outside training."),
    ledger(
      [["dL/dy", cellLink(layer, cell)], exact(dy(cell), "dy", layer, cell)],
      moves && ["mean(dL/dy) over the channel", about(average(dy))],
      moves && ["xhat", about(xhat(cell))],
      moves && ["mean(dL/dy * xhat)", about(average((each) => dy(each) * xhat(each)))],
      ["gamma", gamma ? weightLink(layer, "gamma", c, scale) : "1"],
      ["variance", exact(variance, "saved:variance", layer, c)],
      result(layer, cell, dx),
    ),
  ];
}

/** One cell behind, with `rows` between. */
async function single(layer, cell, rows = [], words = "") {
  const out = outputs(layer, cell)[0]?.cell;
  const [dx, dy] = await gather(layer, cell, [out ?? layer.output_shape.map(() => 0)], "dy");
  if (!out) return [ledger(result(layer, cell, dx))];
  return [ledger([["dL/dy of ", cellLink(layer, out)], exact(dy(out), "dy", layer, out)], ...rows,
    result(layer, cell, dx, words))];
}

async function dropout(layer, cell) {
  if (!source.info.training || !layer.rate) return single(layer, cell);
  const mask = await read(layer, "saved:mask", layer.output_shape, [cell]);
  return single(layer, cell, [
    [`mask: ${mask(cell) ? "kept" : "dropped"}`, exact(mask(cell), "saved:mask", layer, cell)],
    [`scale = 1 / (1 - ${layer.rate})`, about(1 / (1 - layer.rate))],
  ], " = dL/dy * mask * scale");
}

async function affine(layer, cell) {
  const name = layer.kind === "Rescaling" ? "scale" : "variance";
  return single(layer, cell, await constants(layer, cell, [name]));
}

async function unknown(layer, cell) {
  const dx = await read(layer, "dx", layer.input_shape, [cell]);
  const what = layer.custom
    ? `The backward of your own layer ${layer.name} computes it.`
    : "The gradient goes back along the same random map of pixels.";
  return [p(what), ledger(result(layer, cell, dx))];
}

const BACK = {
  linear, maxPool, averagePool, globalMax, batchNorm, affine, dropout,
  zeroPad: single, reshape: single, identity: single,
  activation: (layer, cell) =>
    activationBackward(layer, layer.operation, {before: "x", into: "dx"}, cell),
};

/** A rule's formula, unless it has only a name. */
const equation = (rule) => (rule?.formula?.includes("=") ? formula(rule.formula) : null);

/** The gradient that the loss returns, at a cell of the last layer. */
async function lossGradient(layer, cell) {
  const {loss} = source.model;
  const fused = isFused(layer);
  const row = rowOf(cell, layer.output_shape);
  const d = fused ? "dz" : "dy";
  const [y, gradient] = await Promise.all([
    read(layer, "y", layer.output_shape, row), read(layer, d, layer.output_shape, row),
  ]);
  const target = targets(layer, row, y, gradient, fused);
  const terms = row.map((each, k) => ({
    label: () => cellLink(layer, each),
    parts: () => [exact(y(each), "y", layer, each), about(target[k])],
    product: gradient(each),
    result: () => exact(gradient(each), d, layer, each),
  }));
  const here = target[cell[cell.length - 1]];
  return [
    p(`From the loss, ${loss.name}:`),
    equation(loss), equation(loss.backward),
    ledger(
      [["y", cellLink(layer, cell)], exact(y(cell), "y", layer, cell)],
      ["target", about(here)],
      [`dL/d${d[1]}${at(cell)}${fused ? " = y - target" : ""}`,
        exact(gradient(cell), d, layer, cell)],
    ),
    termTable(terms, ["k", "y", "target", `dL/d${d[1]}`],
      fused ? "Loss and last activation are one operation, which goes straight to dL/dz"
        : "All outputs"),
    sourceText(loss.backward),
  ];
}

/** 1 for the true label, 0 for others; what a fused loss was given where labels are smoothed. */
function targets(layer, row, y, gradient, fused) {
  if (!fused) return row.map((each) => Number(each[each.length - 1] === source.info.label));
  const factor = (layer.activation || layer.operation) === "sigmoid" ? row.length : 1;
  return row.map((each) => Math.round(1e5 * (y(each) - gradient(each) * factor)) / 1e5);
}

/** The loss itself: what the last layer says beside what it should say. */
export async function lossView() {
  const layers = layersOf(source.model);
  const layer = layers[layers.length - 1];
  const {loss} = source.model;
  const row = rowOf(layer.output_shape.map(() => 0), layer.output_shape);
  const y = await read(layer, "y", layer.output_shape, row);
  const {label} = source.info;
  const truth = row[label];
  const logarithm = truth && Number.isFinite(Math.log(y(truth))) ? -Math.log(y(truth)) : null;
  return [
    p("The forward pass ends here; the gradients start here. The loss says how far the answer is "
      + "from the true label, which you can choose beside the digit."),
    equation(loss),
    ledger(
      truth && [["y of the true label ", cellLink(layer, truth)],
        exact(y(truth), "y", layer, truth)],
      isFused(layer) && logarithm !== null && ["-log(y)", about(logarithm, 6)],
    ),
    heading("Its gradient"), ...(await lossGradient(layer, truth ?? row[0])).slice(2),
    sourceText(loss),
  ];
}
