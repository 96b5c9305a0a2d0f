/** Why the network takes this 4 for a 9: a wrong answer, taken apart. */

import {source} from "nanocnn/source.js";
import {
  about, at, before, full, isDense, layers, link, many, nameOf, needsServer, numbers, output, p,
  peak, percent, shapeOf, table,
} from "nanocnn/tours_tools.js";

const MOST = 60;
const [WANTED, TAKEN] = [4, 9];
const TERMS = 5;
const HEADS = ["unit", "x", "difference", "product"];
let found = null; // {label, predicted, index, rightIndex, kind}, of one state of the weights

const layer = () => layers().filter(isDense).at(-1);
const classes = () => source.session.labels?.length ?? 0;
const ok = () => layer() && layer().output_shape[0] === classes() && classes() > 1;

export const four = {
  id: "four",
  title: "Why it takes this 4 for a 9",
  about: "A wrong answer, traced to the terms of two sums and to the pixels.",
  model: null,
  reason: () => needsServer() || (!source.session.tests ? "There are no test digits."
    : ok() ? "" : "This model does not end in a dense layer with one unit for each class."),
  steps: () => [answer, sums, forTaken, forTrue, difference, pixels, right],
};

const pick = (by) => source.call("pick", {by, count: MOST});

/** The digit of the tour: a 4 taken for a 9, or the nearest thing that exists. */
async function search() {
  const wrong = await pick("wrong");
  const all = wrong.indices.map((index, k) =>
    ({index, label: wrong.labels[k], predicted: wrong.predicted[k]}));
  const chosen = all.find((one) => one.label === WANTED && one.predicted === TAKEN)
    ?? all.find((one) => one.label === TAKEN && one.predicted === WANTED)
    ?? all.find((one) => one.label === WANTED) ?? all[0] ?? (await hardest());
  const other = await pick(`class:${chosen.label}`);
  const k = other.predicted.findIndex((each) => each === chosen.label);
  const loss = other.losses.map(Number);
  const best = other.indices.reduce((a, _, b) =>
    (other.predicted[b] === chosen.label && loss[b] < loss[a] ? b : a), Math.max(0, k));
  return {...chosen, rightIndex: k < 0 ? null : other.indices[best]};
}

/** No digit is read wrong: the hardest one, against the class that comes second. */
async function hardest() {
  const {indices, labels, predicted} = await pick("hardest");
  return {index: indices[0], label: labels[0], predicted: predicted[0], isRight: true};
}

async function theDigit() {
  const key = source.info.edits + ":" + source.info.step;
  if (found?.key !== key) {
    found = {key, ...(await search())};
  }
  return found;
}

/** The class that is shown against the label. */
async function rival() {
  const {predicted, label} = await theDigit();
  if (predicted !== label) {
    return predicted;
  }
  const {prediction} = source.info;
  return peak(prediction, [prediction.length], (v, k) => (k === label ? -1 : v))[0];
}

const sample = async () => {
  const {index, label} = await theDigit();
  return {digit: `test:${index}`, label: String(label)};
};

/** {z, x, w(k, unit), bias} of the last dense layer. */
async function parts() {
  const last = layer();
  const [z, x, kernel, bias] = await Promise.all([
    numbers(last, "z"), output(before(last)), numbers(last, "param:kernel"),
    last.params.bias ? numbers(last, "param:bias") : [],
  ]);
  return {z, x, w: (k, unit) => kernel[k * z.length + unit], bias: (unit) => bias[unit] ?? 0};
}

/** The largest terms of a sum over x: [[link to the unit, x, weight, product]]. */
function terms(x, weight) {
  const all = Array.from(x, (v, k) => [k, v * weight(k)]);
  return all.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, TERMS).map(([k, product]) =>
    [link(before(layer()), cellFor(k)), about(x[k]), about(weight(k)), about(product)]);
}

const cellFor = (k) => (shapeOf(before(layer())).length === 1 ? [k] : [0, 0, k]);

const answer = {
  title: "A wrong answer",
  look: "draw",
  sample,
  place: async () => at(layer(), [await rival()]),
  async text() {
    const {index, label, predicted, isRight} = await theDigit();
    const {prediction} = source.info;
    const other = await rival();
    const isAsked = label === WANTED && predicted === TAKEN;
    return [
      isAsked ? null : p(isRight ? "This model reads all test digits that were looked at right. "
        + "Here is the one it finds hardest."
        : `This model takes no ${WANTED} for a ${TAKEN} among its ${MOST} worst mistakes. Here is `
          + `${a(label)} that it takes for ${a(predicted)}.`),
      p(`Test digit ${many(index)} has the label ${label}. The network gives the ${other} `,
        percent(prediction[other], 1), ` and the ${label} `, percent(prediction[label], 1),
        ". Its loss is ", about(source.info.loss), ", minus the logarithm of the probability of "
        + "the label."),
      p("Would you have read it right?"),
    ];
  },
};

const sums = {
  title: "Two sums compete",
  look: "zoom",
  sample,
  place: async () => at(layer(), [await rival()], {view: "z"}),
  async text() {
    const {label} = await theDigit();
    const other = await rival();
    const {z} = await parts();
    return [
      p("Before the activation, each class has a number z, its logit: ", nameOf(layer()), ` has `,
        full(z[other]), ` for the ${other} and `, full(z[label]), ` for the ${label}.`),
      p("Softmax makes them probabilities. Their ratio is e to the power of the difference ",
        about(z[other] - z[label]), ": ", about(Math.exp(z[other] - z[label])),
        ". So the question is what made one sum larger than the other."),
    ];
  },
};

const one = (title, whose) => ({
  title,
  look: "panel-cell",
  sample,
  place: async () => at(layer(), [await whose()]),
  async text() {
    const unit = await whose();
    const {z, x, w, bias} = await parts();
    return [
      p(`The logit of the ${unit} is a sum of ${many(x.length)} products, one for each number of `,
        nameOf(before(layer())), ", and the bias ", about(bias(unit)), ". The largest terms:"),
      table([["unit", "x", "weight", "product"], ...terms(x, (k) => w(k, unit))]),
      p("With all others they add up to ", full(z[unit]), "."),
    ];
  },
});

/** "a 4", "an 8" */
const a = (digit) => `${/^(8|11|18)/.test(digit) ? "an" : "a"} ${digit}`;

const labelOf = async () => (await theDigit()).label;
const forTaken = one("What speaks for the wrong class", rival);
const forTrue = one("What speaks for the right one", labelOf);

const difference = {
  title: "What made the difference",
  look: "panel-cell",
  sample,
  async place() {
    const [other, label, {x, w}] = [await rival(), await labelOf(), await parts()];
    const k = peak(x, [x.length], (v, j) => Math.abs(v * (w(j, other) - w(j, label))))[0];
    return at(before(layer()), cellFor(k));
  },
  async text() {
    const [other, label, {z, x, w}] = [await rival(), await labelOf(), await parts()];
    return [
      p("Most units speak for both. What decides is each unit times the difference of its two "
        + `weights, of the ${other} minus of the ${label}:`),
      table([HEADS, ...terms(x, (k) => w(k, other) - w(k, label))]),
      p("A positive product speaks for the ", `${other}. All of them and the biases add up to `,
        about(z[other] - z[label]), ". The outlined unit has the largest share; click it to see "
          + "what it is computed from."),
    ];
  },
};

const pixels = {
  title: "Which pixels would change its mind",
  look: "zoom",
  sample,
  place: async () => at(null, peak(await numbers(null, "dx"), shapeOf(null)), {grad: "1"}),
  async text() {
    const label = await labelOf();
    const [x, dx] = [await output(null), await numbers(null, "dx")];
    const most = peak(dx, shapeOf(null));
    const value = dx[dx.reduce((best, v, k) => (Math.abs(v) > Math.abs(dx[best]) ? k : best), 0)];
    const isInk = Math.max(...x) <= 1;
    return [
      p("The gradient of the loss for each pixel. Blue: more ink here would lower the loss, that "
        + `is, make ${a(label)} more probable. Orange: less ink would.`),
      p("The strongest is at ", link(null, most), ": ", about(value), ".", isInk ? " Ink from 0 "
        + "to 1 there would change the loss by about as much, if the gradient stayed what it is."
        : ""),
      p("Look for the stroke that is missing, or the gap that should be open. You can draw on the "
        + "digit and see."),
    ];
  },
};

const right = {
  title: "One that it reads right",
  look: "network",
  async sample() {
    const {rightIndex, index, label} = await theDigit();
    return {digit: `test:${rightIndex ?? index}`, label: String(label)};
  },
  place: async () => at(layer(), [await labelOf()]),
  async text() {
    const {label, index, rightIndex} = await theDigit();
    const other = found.predicted === label ? null : found.predicted;
    const {z, x, w} = await parts();
    if (rightIndex === null || other === null) {
      const none = other === null ? "" : `The first ${MOST} test digits of class ${label} are all `
        + "read wrong. ";
      return [p(none, `Pick another digit of class ${label} on the left, and compare its sums with `
        + "those of this one.")];
    }
    return [
      p(`Test digit ${many(rightIndex)} is ${a(label)} that the network reads as one, with `,
        percent(source.info.prediction[label], 1), `. Its logits are `, about(z[label]),
        ` for the ${label} and `, about(z[other]), ` for the ${other}. Now these units decide:`),
      table([HEADS, ...terms(x, (k) => w(k, other) - w(k, label))]),
      p("A negative product speaks for the ", `${label}. Compare with digit ${many(index)}, two `
        + "steps back."),
    ];
  },
};
