/** Why pooling. */

import {source} from "nanocnn/source.js";
import {base64url} from "nanocnn/packed.js";
import {inputs} from "nanocnn/reach.js";
import {
  about, after, at, before, cellOf, first, full, isDense, link, many, nameOf, numbers, output, p,
  peak, percent, place, shapeOf, sizes, strongest, total,
} from "nanocnn/tours_tools.js";

const layer = () => first(({operation}) => /^(max|average)_pool$/.test(operation));
const isMax = () => layer().operation === "max_pool";
const earlier = () => before(layer());
const kept = {version: -1}; // outputs of the digit at home, to compare with the moved one

export const pool = {
  id: "pool",
  title: "Why pooling",
  about: "Fewer numbers, and less care about where exactly a stroke lies.",
  model: null,
  reason: () => (layer() ? "" : "This model has no pooling."),
  steps: () => [detail, window, saving, ...(canMove() ? [moved] : []), back],
};

const canMove = () => source.session.can_draw && !source.static;
const windowSize = () => [layer().options.pool_size].flat().join(" × ");

const detail = {
  title: "More detail than needed",
  look: "zoom",
  place: async () => at(earlier(), await strongest(earlier())),
  async text() {
    const [h, w, c] = shapeOf(earlier());
    return [
      p(nameOf(earlier()), ` gives ${h} × ${w} numbers for each of ${c} maps. Neighbours in a `
        + "map are mostly alike, since their windows overlap."),
      p("To tell digits apart it matters that there is a stroke of this kind, and roughly where; "
        + "not on which pixel."),
    ];
  },
};

/** The cell of the input that won the window, or null. */
async function winner(cell) {
  const from = earlier();
  const [x, shape] = [await output(from), shapeOf(from)];
  const cells = inputs(layer(), cell).map((each) => each.cell).filter(Boolean);
  const value = ([i, j, c]) => x[(i * shape[1] + j) * shape[2] + c];
  return cells.reduce((best, each) => (value(each) > value(best) ? each : best));
}

const window = {
  title: "One number for each window",
  look: "panel-cell",
  place: async () => at(layer(), await strongest(layer())),
  async text() {
    const cell = cellOf(layer().output_shape) ?? (await strongest(layer()));
    const [y] = await numbers(layer(), "y", cell.map((i) => [i, i + 1]));
    const won = await winner(cell);
    return [
      p(nameOf(layer()), ` looks at ${windowSize()} cells of a map and `,
        isMax() ? "keeps the largest. " : "takes their mean. ", `At ${place(cell)} that `
          + `is `, full(y),
        ...(isMax() ? [", which won from ", link(earlier(), won), "."] : ["."])),
      p("There are no weights: nothing is learned here. Each map is pooled by itself."),
    ];
  },
};

const saving = {
  title: "What it saves",
  look: "network",
  place: async () => at(layer(), await strongest(layer())),
  async text() {
    const {input_shape: from, output_shape: to} = layer();
    const next = first((each) => each.params.kernel && isAfter(each));
    const factor = total(from) / total(to);
    return [
      p(`${sizes(from)} = ${many(total(from))} numbers became ${sizes(to)} = ${many(total(to))}.`),
      next ? p("The next layer with weights, ", nameOf(next), ", ", isDense(next)
        ? `has ${many(total(next.params.kernel))} weights. Without the pooling it would have about `
          + `${about(factor).textContent} times as many.`
        : `has about ${about(factor).textContent} times less to compute, and its windows see `
          + "further into the picture.") : null,
    ];
  },
};

const isAfter = (other) => {
  let each = after(layer());
  while (each && each !== other) {
    each = after(each);
  }
  return Boolean(each);
};

/** The digit moved by one pixel to the right, as the field of an address. */
async function shifted() {
  const x = await output(null);
  const most = Math.max(...x) > 1 ? 1 : 255;
  const pixels = Uint8Array.from({length: 784}, (_, k) =>
    (k % 28 ? Math.max(0, Math.min(255, Math.round(x[k - 1] * most))) : 0));
  return `d:${base64url(pixels)}`;
}

const moved = {
  title: "A small move matters less",
  look: "network",
  async sample(home) {
    const {version, digit} = source.info;
    if (kept.moved !== undefined && digit?.kind === "given") {
      return {digit: kept.moved, label: home.label};
    }
    Object.assign(kept, {version, before: await output(earlier()), pooled: await output(layer())});
    kept.moved = await shifted();
    return {digit: kept.moved, label: home.label};
  },
  place: async () => at(layer(), await strongest(layer())),
  async text() {
    const now = [await output(earlier()), await output(layer())];
    const old = [kept.before, kept.pooled];
    if (!old[0] || old[0].length !== now[0].length) {
      return [p("The digit is moved by one pixel to the right: go back one step and on again to "
        + "see how much changes.")];
    }
    const [was, pooled] = now.map((each, k) => change(old[k], each));
    const words = pooled < was ? "less than before the pooling, since a winner that moves within "
      + "its window stays the winner" : "here not less than before the pooling";
    return [
      p("The digit has moved by one pixel to the right. The maps of ", nameOf(earlier()),
        ` changed by ${percent(was)} of their size, those of `, nameOf(layer()),
        ` by ${percent(pooled)}: ${words}.`),
      p("Size is the root of the sum of squares, of the map and of the difference."),
    ];
  },
};

/** The length of the difference of two vectors, as a share of the first one's. */
function change(a, b) {
  let [difference, size] = [0, 0];
  for (let k = 0; k < a.length; k++) {
    difference += (b[k] - a[k]) ** 2;
    size += a[k] ** 2;
  }
  return Math.sqrt(difference / (size || 1));
}

const back = {
  title: "Backward: who won, learns",
  look: "zoom",
  async place() {
    const dy = await numbers(layer(), "dy");
    const cell = peak(dy, layer().output_shape);
    return at(earlier(), await winner(cell), {grad: "1"});
  },
  async text() {
    const dx = await numbers(layer(), "dx");
    const live = dx.filter((v) => v !== 0).length;
    return [
      isMax() ? p("Only the winner of a window had a say in the result, so only it gets a "
        + `gradient; the others get 0. Of the ${many(dx.length)} cells of `, nameOf(earlier()),
        `, ${many(live)} have one, ${percent(live / dx.length, 1)}: these places decide what the `,
        "layers before learn from this digit.")
        : p(`Each cell of a window of ${windowSize()} gets an equal share of the gradient: all `
          + `of them had a say. ${many(live)} of ${many(dx.length)} cells have one that is not 0.`),
      p("The outlined cell has the largest gradient; the panel Cell says where it comes from."),
    ];
  },
};
