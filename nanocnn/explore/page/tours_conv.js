/** What a convolution does. */

import {source} from "nanocnn/source.js";
import {field} from "nanocnn/reach.js";
import {
  about, at, before, cellOf, first, full, isConv, layers, link, many, nameOf, numbers, output, p,
  peak, place, sizes, strongest, total,
} from "nanocnn/tours_tools.js";

const layer = () => first(isConv);
const last = () => layers().filter(({reach}) => reach.kind === "window").at(-1);

/** The cell of the first convolution that the tour is about. */
const cell = async () => strongest(layer());

/** The cell that is selected, or else the tour's. */
const shown = async () => cellOf(layer().output_shape) ?? cell();

const mapOf = ([, , f]) => [null, null, [f, f + 1]];

export const conv = {
  id: "conv",
  title: "What a convolution does",
  about: "A small table of weights, moved over the picture.",
  model: null,
  reason: () => (layer() ? "" : "This model has no convolution."),
  steps: () => [picture, filter, sum, everywhere, ...(layer().activation ? [bend] : []), deeper],
};

const picture = {
  title: "A picture is a table of numbers",
  look: "zoom",
  place: async () => at(null, await strongest(null)),
  async text() {
    const {shape} = source.model.input;
    const x = await output(null);
    const most = peak(x, shape);
    return [
      p(`The network does not see a digit. It gets ${sizes(shape)} = ${many(total(shape))} `
        + "numbers, here with each number in its cell: 0 is paper, larger numbers are ink."),
      p("The largest stands at ", link(null, most), ": ", full(Math.max(...x)), "."),
    ];
  },
};

const filter = {
  title: "A filter is a small table of weights",
  look: "zoom",
  place: async () => at(layer(), await cell(), {view: "param:kernel"}),
  async text() {
    const {params, output_shape: out, input_shape: into, count} = layer();
    const [h, w, c, f] = params.kernel;
    const dense = total(into) * total(out);
    return [
      p(nameOf(layer()), ` has ${f} filters. Each is a table of ${h} × ${w} × ${c} weights that `,
        `training has found, and one bias. Shown is filter ${(await shown())[2]}.`),
      p("An orange weight counts ink under it for the result, a blue one counts it against."),
      p(`All filters together have ${many(count)} numbers, whatever the size of the picture. A `
        + `dense layer with as many outputs would have ${many(dense)} weights.`),
    ];
  },
};

const sum = {
  title: "One number of the result",
  look: "panel-cell",
  place: async () => at(layer(), await cell()),
  async text() {
    const {params, name} = layer();
    const [h, w, c] = params.kernel;
    const [i, j, f] = await shown();
    const [z] = await numbers(layer(), "z", [[i, i + 1], [j, j + 1], [f, f + 1]]);
    const bias = params.bias ? (await numbers(layer(), "param:bias"))[f] : 0;
    return [
      p("Lay the filter over the picture, where the frame is in the input. Multiply each number "
        + `by the weight that lies on it, and add up the ${h * w * c} products: `,
      about(z - bias), "."),
      p("The bias, ", about(bias), ", is added. The sum is ", full(z), ", in ", nameOf({name}),
        ` at ${place([i, j, f])}. Every product stands in the panel Cell.`),
    ];
  },
};

const everywhere = {
  title: "The same filter everywhere",
  look: "zoom",
  place: async () => at(layer(), await cell(), {view: "z"}),
  async text() {
    const {output_shape: [h, w, f], options} = layer();
    const now = await shown();
    const map = await numbers(layer(), "z", mapOf(now));
    const steps = [...new Set([options.strides ?? 1].flat())].join(" and ");
    const most = peak(map, [h, w, 1], (v) => v);
    const spot = link(layer(), [...most.slice(0, 2), now[2]]);
    return [
      p(`The filter moves over the picture in steps of ${steps} and gives a sum at each place: `,
        `${h} × ${w} numbers, a feature map. ${f} filters give ${f} maps.`),
      p("The sum is large where the picture looks like the filter: its largest, ",
        about(Math.max(...map)), ", is at ", spot, ". Where ink lies on blue weights it is "
          + "negative: the least is ", about(Math.min(...map)), "."),
      p("A stroke that moves by one step moves its map with it. The layer need not learn anew "
        + "what a stroke looks like at every place."),
    ];
  },
};

const bend = {
  title: "Then the activation",
  look: "panel-cell",
  async place() {
    const now = await cell();
    const {output_shape: [h, w]} = layer();
    const least = peak(await numbers(layer(), "z", mapOf(now)), [h, w, 1], (v) => -v);
    return at(layer(), [...least.slice(0, 2), now[2]]);
  },
  async text() {
    const {activation, output_shape: [h, w], activation_formula: formula} = layer();
    const now = await shown();
    const [z, y] = await Promise.all(["z", "y"].map((what) => numbers(layer(), what, mapOf(now))));
    const k = now[0] * w + now[1];
    const zeros = y.filter((v) => v === 0).length;
    return [
      p(`Each sum z goes through ${activation}, ${formula}: at ${place(now)}, z = `,
        full(z[k]), " becomes ", full(y[k]), "."),
      zeros ? p(`${many(zeros)} of the ${many(h * w)} numbers of this map are 0 now: they say `,
        "“not here”.") : null,
      p("Without an activation, two layers of sums could be replaced by one: the network would "
        + "not be able to say “this stroke and that one”."),
    ];
  },
};

const deeper = {
  title: "Later layers see more",
  look: "network",
  place: async () => at(last(), await strongest(last())),
  async text() {
    const now = cellOf(last().output_shape) ?? (await strongest(last()));
    const seen = field(source.model, layers().indexOf(last()), now.map((i) => [i, i + 1]))[""];
    const [h, w] = (seen ?? []).map(([start, stop]) => stop - start);
    const [kh, kw] = layer().params.kernel;
    return [
      p("A cell of ", nameOf(layer()), ` is computed from ${kh} × ${kw} pixels. The outlined `
        + "cell of ", nameOf(last()), ` is computed from ${h} × ${w}: its receptive field, framed `
        + "in each layer before it."),
      before(last()) ? p("So first layers find edges; later ones find what edges form together.")
        : null,
      p("Click any cell of the network to see what it was computed from."),
    ];
  },
};
