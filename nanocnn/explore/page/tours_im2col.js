/** im2col: a convolution as one product of matrices. */

import {paint} from "nanocnn/colours.js";
import {el} from "nanocnn/widgets.js";
import {inputs} from "nanocnn/reach.js";
import {
  about, at, before, cellOf, code, first, full, isConv, many, nameOf, numbers, output, p, place,
  shapeOf, strongest, total,
} from "nanocnn/tours_tools.js";

const COLUMNS = 75; // of the matrix that are drawn
const [WIDTH, HEIGHT] = [300, 190]; // pixels, of its picture
const layer = () => first(isConv);
const cell = async () => cellOf(layer().output_shape) ?? strongest(layer());

/** Places, taps and filters of the layer. */
function counts() {
  const {output_shape: [h, w, filters], params: {kernel}} = layer();
  return {w, places: h * w, taps: kernel[0] * kernel[1] * kernel[2], filters};
}

export const im2col = {
  id: "im2col",
  title: "im2col: a convolution as a product of matrices",
  about: "How windows become rows, so that one matrix product does all sums.",
  model: null,
  reason: () => (layer() ? "" : "This model has no convolution."),
  steps: () => [sums, rows, columns, product, memory, back],
};

const sums = {
  title: "Many small sums",
  look: "panel-cell",
  place: async () => at(layer(), await strongest(layer())),
  async text() {
    const {places, taps, filters} = counts();
    return [
      p(nameOf(layer()), ` computes ${many(places)} places × ${filters} filters = `,
        `${many(places * filters)} numbers, each a sum of ${taps} products: `,
        `${many(places * filters * taps)} products for one digit.`),
      p("Written down they are six nested loops: over the rows, columns and filters of the "
        + "result, and the rows, columns and channels of the window. But what processors do best "
        + "is a product of two large matrices. Can all these sums be one?"),
    ];
  },
};

const rows = {
  title: "Each window becomes a row",
  look: "zoom",
  place: async () => at(layer(), await strongest(layer())),
  async text() {
    const {w, places, taps} = counts();
    const [i, j] = await cell();
    return [
      p("Copy the numbers under the window at a place, row after row, into one row of a matrix: ",
        `${taps} numbers. The window at ${place([i, j])} becomes row ${i} × ${w} + ${j} = `,
        `${many(i * w + j)}. This matrix is called cols: ${many(places)} × ${taps}.`),
      await matrix(),
    ];
  },
};

/** The rows of cols of one row of the output, the one of the cell framed. */
async function matrix() {
  const {w, taps} = counts();
  const [i, now] = await cell();
  const from = before(layer());
  const [x, shape] = [await output(from), shapeOf(from)];
  const shown = Math.min(taps, COLUMNS);
  const cols = new Float64Array(w * shown);
  for (let j = 0; j < w; j++) {
    inputs(layer(), [i, j, 0]).slice(0, shown).forEach(({cell: c}, k) => {
      cols[j * shown + k] = c ? x[(c[0] * shape[1] + c[1]) * shape[2] + c[2]] : 0;
    });
  }
  const canvas = el("canvas", {class: "matrix-of-windows"});
  const range = [Math.min(0, ...cols), Math.max(...cols)];
  paint(canvas, cols, w, shown, range, {kind: from ? "diverging" : "image"});
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Rows ${i * w} to ${i * w + w - 1} of cols as colours`);
  const across = Math.max(4, Math.min(18, Math.floor(WIDTH / shown)));
  const down = Math.max(4, Math.min(12, Math.floor(HEIGHT / w)));
  const frame = el("div", {class: "row-frame"});
  const width = `${shown * across}px`;
  Object.assign(canvas.style, {width, height: `${w * down}px`});
  Object.assign(frame.style, {top: `${now * down}px`, height: `${down}px`, width});
  const cut = shown < taps ? `, its first ${shown} columns` : "";
  return el("figure", {}, el("div", {class: "scroll"},
    el("div", {class: "framed"}, canvas, frame)),
  el("figcaption", {}, `Rows ${many(i * w)} to ${many(i * w + w - 1)}${cut}: the windows along `
    + `row ${i}. The frame is row ${many(i * w + now)}. Neighbours hold mostly the same pixels.`));
}

const columns = {
  title: "Each filter becomes a column",
  look: "zoom",
  place: async () => at(layer(), await strongest(layer()), {view: "param:kernel"}),
  async text() {
    const {taps, filters} = counts();
    const [, , f] = await cell();
    return [
      p(`The weights of a filter, in the same order, are a column of ${taps} numbers. The kernel `
        + "of ", nameOf(layer()), ` lies in memory that way already: read as a matrix W, it has `
        + `${taps} rows and ${filters} columns. Shown is the filter that is column ${f}.`),
    ];
  },
};

const product = {
  title: "One product does it all",
  look: "panel-cell",
  place: async () => at(layer(), await strongest(layer())),
  async text() {
    const {w, places, taps, filters} = counts();
    const now = await cell();
    const [i, j, f] = now;
    const [z] = await numbers(layer(), "z", now.map((k) => [k, k + 1]));
    return [
      p(code("Z = cols @ W + bias"), `: (${many(places)} × ${taps}) times (${taps} × ${filters}) `
        + `is ${many(places)} × ${filters}: all maps at once.`),
      p(`Row ${many(i * w + j)} times column ${f}, and the bias, is `, full(z), ", the same ",
        `sum as that of the cell ${place(now)}. In the panel Cell, `, code("conv2d_forward"),
        " of the reference kernels says it in one line."),
    ];
  },
};

const memory = {
  title: "The price is memory",
  look: "network",
  place: async () => at(layer(), await strongest(layer())),
  async text() {
    const {places, taps} = counts();
    const size = total(layer().input_shape);
    return [
      p(`The input has ${many(size)} numbers, cols has ${many(places * taps)}: `,
        about(places * taps / size), " times as many, since windows overlap. For a batch of 128 ",
        `digits that is ${about(places * taps * 128 * 4 / 2 ** 20).textContent} MiB of float32.`),
      p("So nanocnn's fast kernels make the rows of a few digits at a time, in a buffer that "
        + "stays in the processor's cache, or never write them down: for each layer they choose "
        + "what is fastest. ", code("model.plan()"), " prints the choice."),
    ];
  },
};

const back = {
  title: "The backward pass, too",
  look: "panel-cell",
  async place() {
    const now = await strongest(layer());
    const kernel = layer().params.kernel;
    const weight = [kernel[0] >> 1, kernel[1] >> 1, 0, now[2]];
    const shown = {view: "param:kernel", weight: `kernel:${weight.join(",")}`};
    return at(layer(), now, {...shown, grad: "1"});
  },
  async text() {
    const {places} = counts();
    return [
      p("A weight takes part at every place. Its gradient is the sum over ",
        `${many(places)} places of what lay under it times dL/dz there: `,
        code("dW = cols.T @ dZ"), ", again one product. The panel Cell has it for one weight."),
      p("And dL/dx is ", code("dZ @ W.T"), ", a gradient for every copy of a pixel. The copies "
        + "are added up where they came from: im2col backwards, col2im."),
    ];
  },
};
