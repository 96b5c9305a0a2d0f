/** Where a gradient vanishes: ten sigmoid layers, a model of this tour. */

import {source} from "nanocnn/source.js";
import {short} from "nanocnn/numbers.js";
import {el} from "nanocnn/widgets.js";
import {
  about, at, cellOf, first, full, layers, many, nameOf, needsServer, numbers, output, p, peak,
  place, shapeOf, strongest, table,
} from "nanocnn/tours_tools.js";

const deep = () => layers().filter(({activation}) => activation === "sigmoid");
const isHere = () => source.session.tour === "vanish";

export const vanish = {
  id: "vanish",
  title: "Where a gradient vanishes",
  about: "Ten sigmoid layers, untrained. Your model comes back after the tour.",
  model: "vanish",
  reason: () => needsServer()
    || (isHere() || source.session.tours?.includes("vanish") ? ""
      : "Not while a script trains the model that is shown."),
  steps: () => [start, forward, shrink, slope, lost, help],
};

const least = (data) => short(Math.min(...data), 1);
const most = (data) => Math.max(...data.map(Math.abs));
const rms = (data) => Math.sqrt(data.reduce((sum, v) => sum + v * v, 0) / data.length);

const start = {
  title: "Ten layers of sigmoids",
  look: "network",
  place: async () => at(deep()[0], await strongest(deep()[0])),
  async text() {
    const [units] = shapeOf(deep()[0]);
    return [
      p("This is another model than yours: ten dense layers of ", `${units} units, one after the `,
        "other, then the ten classes. Its weights are random; it has not been trained."),
      p("Each unit adds up its inputs times its weights to z, and gives y = 1 / (1 + "
        + "e", el("sup", {},
        "-z"), "), the sigmoid: a number between 0 and 1. Networks were built like this for "
        + "decades, and deep ones hardly learned. You will see why."),
    ];
  },
};

const forward = {
  title: "Forward, little is left of the digit",
  look: "network",
  place: async () => at(deep().at(-1), await strongest(deep().at(-1))),
  async text() {
    const x = await output(null);
    const y = await output(deep().at(-1));
    const {prediction} = source.info;
    return [
      p(`The digit's pixels lie from ${least(x)} to ${short(most(x), 1)}. The outputs `,
        "of ", nameOf(deep().at(-1)), " lie from ", about(Math.min(...y)), " to ",
        about(Math.max(...y)), ", and they are almost the same for every digit: pick another one "
          + "and look."),
      p("So all classes get about the same probability for all digits, here from ",
        about(Math.min(...prediction)), " to ", about(Math.max(...prediction)),
        ". Training would have to change that: it needs the gradients."),
    ];
  },
};

const shrink = {
  title: "Backward, the gradients shrink",
  look: "network",
  place: async () => at(deep()[0], peak(await numbers(deep()[0], "dy"), shapeOf(deep()[0])),
    {grad: "1", panel: "tour"}),
  async text() {
    const gradients = await Promise.all(deep().map((each) => numbers(each, "grad:kernel")));
    const sizes = gradients.map(rms);
    const largest = Math.max(...sizes);
    const bar = (v) => {
      const fill = el("span", {class: "log-bar"});
      fill.style.width = `${Math.max(1, 100 * (1 + Math.log10(v / largest) / 7))}px`;
      return fill;
    };
    const rows = deep().map((layer, k) => [layer.name, about(sizes[k]), bar(sizes[k]),
      k + 1 < sizes.length ? about(sizes[k + 1] / sizes[k], 2) : ""]).reverse();
    return [
      p("The typical gradient of a weight, from the last layer to the first:"),
      table([["layer", "dL/dW", "its size, by powers of 10", "smaller than the next by"], ...rows]),
      p("Each layer has a gradient several times smaller than the one behind it. From ",
        nameOf(deep().at(-1)), " to ", nameOf(deep()[0]), " that makes a factor of ",
        many(Math.round(sizes.at(-1) / sizes[0])), ". (The columns of the network look alike, "
          + "since each has colours of its own scale. Look at the numbers.)"),
    ];
  },
};

const slope = {
  title: "Why: the slope of the sigmoid",
  look: "panel-cell",
  async place() {
    const layer = deep()[4] ?? deep()[0];
    return at(layer, peak(await numbers(layer, "dy"), shapeOf(layer)), {grad: "1"});
  },
  async text() {
    const layer = first(({name}) => name === (deep()[4] ?? deep()[0]).name);
    const cell = cellOf(shapeOf(layer)) ?? [0];
    const [y, dy, dz] = await Promise.all(["y", "dy", "dz"].map(async (what) =>
      (await numbers(layer, what))[cell[0]]));
    return [
      p("On its way back through a unit a gradient is multiplied by the slope of the sigmoid, ",
        "y (1 - y). That is at most 1/4, where y = 1/2."),
      p(`In `, nameOf(layer), ` at ${place(cell)}: y = `, about(y), ", the slope "
        + "is ", about(y * (1 - y)),
        ", and dL/dy = ", about(dy), " becomes dL/dz = ", full(dz), "."),
      p("Then it is multiplied by the weights of the layer, small random numbers of both signs, "
        + "and the products partly cancel. The ten slopes alone make a factor of at most (1/4)",
      el("sup", {}, "10"), " = 0.00000095."),
    ];
  },
};

const lost = {
  title: "The first layer cannot learn",
  look: "zoom",
  async place() {
    const [layer] = deep();
    const [grad, shape] = [await numbers(layer, "grad:kernel"), layer.params.kernel];
    const index = peak(grad, shape);
    const shown = {view: "param:kernel", weight: `kernel:${index.join(",")}`};
    return at(layer, [index[1]], {...shown, grad: "1"});
  },
  async text() {
    const [layer] = deep();
    const [w, grad] = await Promise.all(["param:kernel", "grad:kernel"].map((what) =>
      numbers(layer, what)));
    const still = w.filter((v, k) => Math.fround(v - 0.01 * grad[k]) === v).length;
    return [
      p("The largest gradient of a weight "
        + "of ", nameOf(layer), " is ", about(most(grad)), ". With a ",
        "learning rate of 0.01, a step of gradient descent would change that weight by ",
        about(0.01 * most(grad)), "; weights here are about ", about(rms(w)), "."),
      p(`For ${many(still)} of its ${many(w.length)} weights the step, rounded to a float32, is `
        + "no change at all. Only the last layers learn, from what the first ones have scrambled."),
    ];
  },
};

const help = {
  title: "What helps",
  look: "panel-train",
  place: async () => at(deep()[0], await strongest(deep()[0]), {panel: "train"}),
  async text() {
    return [
      p("Try it: press Start in the panel Train. The loss stays near ln 10 = ",
        about(Math.log(10), 4), ", that of guessing, for long."),
      p("What made deep networks learn: activations with a slope of 1, such as relu; first "
        + "weights of a size that keeps sums and gradients level (Glorot's and He's); batch "
        + "normalization; connections that lead past layers; optimizers such as Adam, which "
        + "divide each gradient by its usual size."),
      p("Compare with your own model: end the tour and look at its gradients, layer by layer."),
    ];
  },
};
