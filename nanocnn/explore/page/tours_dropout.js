/** What dropout does. */

import {state} from "nanocnn/state.js";
import {source} from "nanocnn/source.js";
import {
  about, at, before, cellOf, first, full, many, nameOf, needsServer, numbers, output, p, peak,
  percent, place, shapeOf, total,
} from "nanocnn/tours_tools.js";

const layer = () => first(({kind, rate}) => kind === "Dropout" && rate > 0 && rate < 1);
const ON = {training: "1"};

export const dropout = {
  id: "dropout",
  title: "What dropout does",
  about: "In training it switches cells off at random, so that none is relied upon.",
  model: null,
  reason: () => needsServer() || (layer() ? "" : "This model has no dropout."),
  steps: () => [off, dropped, grown, again, back, why],
};

const input = () => output(before(layer()));

/** Which cells are kept; without training, all. */
const mask = () => (source.info.training ? numbers(layer(), "saved:mask")
  : new Uint8Array(total(layer().output_shape)).fill(1));

/** The strongest cell among those that are kept (or not), or of all. */
async function among(keeps) {
  const [x, kept] = [await input(), await mask()];
  const score = (v, k) => (Boolean(kept[k]) === keeps ? Math.abs(v) : -1);
  return peak(x, shapeOf(layer()), score);
}

const flatten = (cell) =>
  cell.reduce((k, i, axis) => k * layer().output_shape[axis] + i, 0);

/** x and y of the cell that is shown. */
async function pair() {
  const cell = cellOf(layer().output_shape) ?? layer().output_shape.map(() => 0);
  const k = flatten(cell);
  return {cell, x: (await input())[k], y: (await output(layer()))[k]};
}

const off = {
  title: "Asked for an answer, it does nothing",
  look: "zoom",
  place: async () => at(layer(), peak(await input(), shapeOf(layer()))),
  async text() {
    const {cell, x, y} = await pair();
    return [
      p(nameOf(layer()), ` has a rate of ${layer().rate}. It works in training only. Now, as `
        + `when the network is used, its output is its input: at ${place(cell)} `, full(x),
      " goes in and ", full(y), " comes out."),
    ];
  },
};

const dropped = {
  title: "In training it drops cells",
  look: "zoom",
  sample: () => ON,
  place: async () => at(layer(), await among(false)),
  async text() {
    const kept = await mask();
    const gone = kept.filter((v) => !v).length;
    const {cell, x, y} = await pair();
    return [
      p("Training is switched on. For each cell a random number decides: with a probability of ",
        `${layer().rate} it becomes 0. This time it hit ${many(gone)} of ${many(kept.length)} `
        + `cells, ${percent(gone / kept.length, 1)}.`),
      p(`At ${place(cell)}, `, full(x), " went in and ", full(y), " comes out: this digit is "
        + "learned without it."),
    ];
  },
};

const grown = {
  title: "The others grow",
  look: "panel-cell",
  sample: () => ON,
  place: async () => at(layer(), await among(true)),
  async text() {
    const {cell, x, y} = await pair();
    const {rate} = layer();
    return [
      p(`A cell that is kept is divided by 1 - ${rate}: at ${place(cell)}, `, full(x), " becomes ",
        full(y), "."),
      p("So the mean over many draws stays what it was, and the next layer gets sums of the same "
        + "size in training and later."),
    ];
  },
};

const again = {
  title: "Each time another network",
  look: "network",
  sample: () => ON,
  seed: 1,
  place: async () => at(layer(), await among(false)),
  async text() {
    const kept = await mask();
    const {prediction, label, seed} = source.info;
    const sure = prediction[label];
    return [
      p("The dice are thrown again (they fall the same way for the same seed; now it is ",
        `${seed}). Other cells are off, ${many(kept.filter((v) => !v).length)} of them.`),
      Number.isFinite(sure) && prediction.length > 1
        ? p(`The network gives the label ${label} `, percent(sure, 2), ", with a loss of ",
          about(source.info.loss), ". With every draw these numbers change a little.") : null,
      p("In a training each sample of each batch gets its own draw: it is as if a different, "
        + "thinner network were trained each time, and all of them shared their weights."),
    ];
  },
};

const back = {
  title: "What is off learns nothing",
  look: "zoom",
  sample: () => ON,
  async place() {
    const [dy, kept] = [await numbers(layer(), "dy"), await mask()];
    const score = (v, k) => (kept[k] ? -1 : Math.abs(v));
    return at(before(layer()), peak(dy, shapeOf(layer()), score), {grad: "1"});
  },
  async text() {
    const dx = await numbers(layer(), "dx");
    return [
      p("A dropped cell had no say, so its gradient is 0. A kept one gets the gradient from "
        + `behind, divided by 1 - ${layer().rate} too. Of ${many(dx.length)} cells, `,
        `${many(dx.filter((v) => v === 0).length)} have a gradient of 0 this time.`),
      state.get("grad") ? p("You see dL/dx of ", nameOf(layer()), ", the gradient of the layer ",
        "before it.") : null,
    ];
  },
};

const why = {
  title: "Why it helps",
  look: "network",
  place: async () => at(layer(), peak(await input(), shapeOf(layer()))),
  async text() {
    return [
      p("Training is off again: nothing is dropped, and the answer is the same every time."),
      p("A network with many weights can learn its training digits by heart: a few cells together ",
        "stand for one odd digit. If each may be missing, that does not pay. The network has to "
        + "find several independent signs of a digit, and these are what new digits have as well."),
      p("The price: training takes longer, and its loss looks worse than that of the test digits."),
    ];
  },
};
