/** Activation functions with their numbers: y = f(z), and the slope f'(z) of the backward pass. */

import {source} from "nanocnn/source.js";
import {rowOf} from "nanocnn/reach.js";
import {about, cellLink, exact, formula, full, ledger, read, termTable} from "nanocnn/terms.js";

/** slope, threshold and most of a leaky ReLU, whichever layer it is. */
function leaky({kind, options = {}}) {
  const slope = options.negative_slope ?? (kind === "ReLU" ? 0 : kind === "LeakyReLU" ? 0.3 : 0.2);
  return {slope, threshold: options.threshold ?? 0, most: options.max_value ?? Infinity};
}

/** By name: the function with a number put in, and its slope in words and as a number. */
const FUNCTIONS = {
  linear: {of: (z) => z, slope: () => ["1", 1]},
  relu: {
    of: (z) => `max(${z}, 0)`,
    slope: (z, y) => (y > 0 ? ["1, as y > 0", 1] : ["0, as y is not above 0", 0]),
  },
  leaky_relu: {
    of: (z, layer) => {
      const {slope, threshold, most} = leaky(layer);
      return Number(z) <= threshold ? `${slope} * (${z} - ${threshold})` : `min(${z}, ${most})`;
    },
    slope: (z, y, layer) => {
      const {slope, threshold, most} = leaky(layer);
      if (z <= threshold) return [`${slope}, as x <= ${threshold}`, slope];
      return z >= most ? [`0, as x >= ${most}`, 0] : [`1, as x > ${threshold}`, 1];
    },
  },
  elu: {
    of: (z) => (Number(z) > 0 ? z : `exp(${z}) - 1`),
    slope: (z, y) => (y > 0 ? ["1, as y > 0", 1] : ["y + 1", y + 1]),
  },
  sigmoid: {of: (z) => `1 / (1 + exp(-(${z})))`, slope: (z, y) => ["y * (1 - y)", y * (1 - y)]},
  tanh: {of: (z) => `tanh(${z})`, slope: (z, y) => ["1 - y^2", 1 - y * y]},
  gelu: {
    of: (z) => `${z} * (1 + erf(${z} / sqrt(2))) / 2`,
    slope: () => ["P(X <= x) + x * density(x)", null],
  },
};

/** Whether this names an activation. */
export const isActivation = (name) => name === "softmax" || name in FUNCTIONS;

/** The last step of a cell: its activation, from `before`, an array "z" or "x" of the layer. */
export async function activationForward(layer, name, before, cell) {
  if (name === "softmax") return softmaxForward(layer, before, cell);
  const shape = layer.output_shape;
  const [z, y] = await Promise.all([
    read(layer, before, shape, [cell]), read(layer, "y", shape, [cell]),
  ]);
  const words = `y = ${FUNCTIONS[name].of(full(z(cell)), layer)}`;
  return [ledger([words, exact(y(cell), "y", layer, cell)])];
}

/** Softmax: the exponentials of the row, their sum, and this cell's share. */
async function softmaxForward(layer, before, cell) {
  const shape = layer.output_shape;
  const row = rowOf(cell, shape);
  const [z, y] = await Promise.all([
    read(layer, before, shape, row), read(layer, "y", shape, row),
  ]);
  const most = Math.max(...row.map(z));
  const terms = row.map((each) => ({
    label: () => cellLink(layer, each),
    parts: () => [exact(z(each), before, layer, each), exact(y(each), "y", layer, each)],
    product: Math.exp(z(each) - most),
  }));
  const sum = terms.reduce((all, {product}) => all + product, 0);
  const table = termTable(terms, ["k", before, "y", `exp(${before} - max)`],
    "The row: the maximum is taken off first, so that no exponential overflows; it cancels");
  return [
    table,
    ledger(
      [`largest ${before} of the row`, about(most)],
      [`exp(${before} - max)`, about(Math.exp(z(cell) - most))],
      [`sum of all ${row.length} exponentials`, about(sum)],
      ["y = exponential / sum", exact(y(cell), "y", layer, cell)],
    ),
  ];
}

/**
 * From dL/dy to dL/dz at a cell: `before` is the array that the activation is of, `into`
 * its gradient: "z" and "dz" in a Dense or Conv2D, "x" and "dx" in a layer of its own.
 */
export async function activationBackward(layer, name, {before, into}, cell) {
  const shape = layer.output_shape;
  if (name === "softmax") return softmaxBackward(layer, into, cell);
  const arrays = [before, "y", "dy", into].map((what) => read(layer, what, shape, [cell]));
  const [z, y, dy, d] = (await Promise.all(arrays)).map((of) => of(cell));
  const [words, slope] = FUNCTIONS[name].slope(z, y, layer);
  return [
    ledger(
      [`dL/dy`, exact(dy, "dy", layer, cell)],
      [`${before}`, exact(z, before, layer, cell)],
      [`y`, exact(y, "y", layer, cell)],
      [`slope of ${name}: ${words}`, about(slope ?? d / dy)],
      [`dL/d${into.slice(1)} = dL/dy * slope`, exact(d, into, layer, cell)],
    ),
  ];
}

async function softmaxBackward(layer, into, cell) {
  const shape = layer.output_shape;
  const row = rowOf(cell, shape);
  const arrays = ["y", "dy", into].map((what) => read(layer, what, shape, row));
  const [y, dy, d] = await Promise.all(arrays);
  const terms = row.map((each) => ({
    label: () => cellLink(layer, each),
    parts: () => [exact(dy(each), "dy", layer, each), exact(y(each), "y", layer, each)],
    product: dy(each) * y(each),
  }));
  const sum = terms.reduce((all, {product}) => all + product, 0);
  return [
    termTable(terms, ["k", "dL/dy", "y", "dL/dy * y"], "Every cell of the row moves the others"),
    ledger(
      ["sum over k of dL/dy * y", about(sum)],
      ["dL/dy of this cell", exact(dy(cell), "dy", layer, cell)],
      ["y of this cell", exact(y(cell), "y", layer, cell)],
      [`dL/d${into.slice(1)} = y * (dL/dy - sum)`, exact(d(cell), into, layer, cell)],
    ),
  ];
}

/** The formula line of an activation in a layer whose sum is z. */
export function activationFormula(layer) {
  const words = layer.activation_formula ?? "";
  return words ? formula(words) : null;
}

/** Whether the loss computes this layer's activation too: then the trace has no dL/dy of it. */
export function isFused(layer) {
  const {layers, loss} = source.model;
  return Boolean(loss?.fused) && layer.name === layers[layers.length - 1].name;
}
