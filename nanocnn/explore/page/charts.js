/** Charts drawn from typed arrays: lines, distributions over time, bars, a confusion matrix. */
import {axes, emptyText, line, logTicks, reader, scale, surface, tickText, ticks}
  from "nanocnn/canvas.js";
import {short} from "nanocnn/numbers.js";
import {el, setText} from "nanocnn/widgets.js";

/** The frame of a chart: title, the words of the place read at, canvas, summary for readers. */
function frame(element, title, canvas) {
  const id = `chart-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
  const output = el("span", {class: "reading number"});
  const summary = el("p", {class: "sr", id: `${id}-summary`});
  canvas.id = id;
  canvas.setAttribute("aria-describedby", summary.id);
  element.append(el("figure", {class: "chart-frame"},
    el("figcaption", {}, el("span", {class: "chart-title"}, title), output), canvas, summary));
  return {output, summary};
}

/** Curves over a common axis; see `update` for what a series holds.
 *
 * update([{name, x, y, colour, dash, marker, soft}], {at, log}): x and y are arrays of numbers;
 * `soft` series are drawn thin, without a label; `at` is a step to mark. `top` fixes the upper end
 * of the axis; its lower end is the largest of `floors` that is below all numbers.
 */
export function lines(element, options) {
  const {title, unit = "step", height = 170, log = false, top = null, floors = [0]} = options;
  const chart = {series: [], at: null, log};
  const picture = surface(height, (pen, width, tall, colours) => {
    chart.box = boxOf(chart, width, tall);
    drawLines(pen, chart, colours, {top, floors, unit}, read.place());
  });
  const {output, summary} = frame(element, title, picture.canvas);
  const first = () => chart.series[0] ?? {x: [], y: []};
  const read = reader(picture.canvas, output, {
    label: `${title} by ${unit}`, count: () => first().x.length, redraw: picture.redraw,
    near: (pixel) => nearest(first().x, chart.toX?.invert(pixel)),
    told: (place) => wordsAt(chart.series, first().x[place], unit),
  });
  return {
    canvas: picture.canvas,
    update(series, now = {}) {
      Object.assign(chart, {series, at: now.at ?? null, log: now.log ?? chart.log});
      setText(summary, summaryOf(title, series, unit));
      read.tell();
      picture.redraw();
    },
  };
}

/** The plot's rectangle: room at the left for numbers, at the right for names. */
function boxOf(chart, width, height) {
  const longest = Math.max(0, ...chart.series.filter((s) => !s.soft).map((s) => s.name.length));
  return {left: 46, top: 10, right: width - 10 - longest * 7, bottom: height - 22};
}

/** The lowest and highest of the finite numbers of all series (positive ones only for a log). */
function extent(arrays, keep = Number.isFinite) {
  let [low, high] = [Infinity, -Infinity];
  for (const values of arrays) {
    for (const value of values) {
      if (keep(value)) {
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
  }
  return low <= high ? [low, high] : null;
}

/** Draws axes, curves, their names at their ends and the places that are marked. */
function drawLines(pen, chart, colours, {top, floors, unit}, place) {
  const {box, series, log} = chart;
  const positive = (value) => Number.isFinite(value) && value > 0;
  const across = extent(series.map((s) => s.x));
  const up = extent(series.map((s) => s.y), log ? positive : Number.isFinite);
  if (!across || !up) {
    emptyText(pen, box.right + box.left, box.bottom, "nothing yet: train a step", colours);
    return;
  }
  const low = log ? up[0] : floors.findLast((floor) => floor <= up[0]) ?? up[0];
  const high = top ?? (up[1] > low ? up[1] * (log ? 1 : 1.04) : low + 1);
  const x = scale(across[0], across[1], box.left, box.right);
  const y = scale(low, Math.max(high, low * (1 + 1e-6)), box.bottom, box.top, log);
  chart.toX = {invert: (pixel) => across[0]
    + ((pixel - box.left) / (box.right - box.left)) * (across[1] - across[0])};
  const columns = Math.max(2, Math.min(6, Math.floor((box.right - box.left) / 80)));
  axes(pen, box, ticks(across[0], across[1], columns).filter(Number.isInteger),
    log ? logTicks(low, high) : ticks(low, high, 4), x, y, colours, unit);
  mark(pen, box, chart.at === null ? null : x(chart.at), colours.ink, [2, 3]);
  series.forEach((one) => curve(pen, box, one, x, y, colours));
  nameLines(pen, box, series, y, colours);
  const at = place === null ? null : x(series[0].x[place]);
  mark(pen, box, at, colours.ink, []);
}

/** A vertical line at a place that is looked at. */
function mark(pen, box, at, colour, dash) {
  if (at !== null) {
    pen.strokeStyle = colour;
    pen.lineWidth = 1;
    line(pen, at, box.top, at, box.bottom, dash);
  }
}

/** One curve with its markers; a number that is not finite leaves a gap and a mark at the top. */
function curve(pen, box, series, x, y, colours) {
  const colour = colours[series.colour ?? "ink"];
  pen.strokeStyle = colour;
  pen.fillStyle = colour;
  pen.lineWidth = series.soft ? 1 : 2;
  pen.globalAlpha = series.soft ? 0.35 : 1;
  pen.setLineDash(series.dash ?? []);
  pen.beginPath();
  let open = false;
  for (let k = 0; k < series.x.length; k++) {
    const height = y(series.y[k]);
    if (Number.isFinite(height)) {
      pen[open ? "lineTo" : "moveTo"](x(series.x[k]), height);
    }
    open = Number.isFinite(height);
  }
  pen.stroke();
  pen.setLineDash([]);
  pen.globalAlpha = 1;
  for (let k = 0; k < series.x.length; k++) {
    const at = x(series.x[k]);
    if (!Number.isFinite(series.y[k])) {
      pen.fillStyle = colours.nan;
      pen.fillRect(at - 1.5, box.top - 8, 3, 7);
    } else if (series.marker && series.x.length <= 60) {
      pen.fillStyle = colours.paper;
      pen.beginPath();
      pen.arc(at, y(series.y[k]), 3.5, 0, 7);
      pen.fill();
      pen.stroke();
    }
  }
}

/** The names of the curves beside their last points, moved apart where they would meet. */
function nameLines(pen, box, series, y, colours) {
  const named = series.filter((one) => !one.soft && one.x.length > 0).map((one) => {
    const last = one.y[one.y.length - 1];
    const at = Number.isFinite(y(last)) ? y(last) : box.top;
    return {name: one.name, colour: colours[one.colour ?? "ink"], at};
  }).sort((a, b) => a.at - b.at);
  named.forEach((one, k) => {
    one.at = Math.max(one.at, box.top + 4, k > 0 ? named[k - 1].at + 14 : -Infinity);
  });
  const over = named.length > 0 ? Math.max(0, named[named.length - 1].at - box.bottom + 4) : 0;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  for (const one of named) {
    pen.fillStyle = one.colour;
    pen.fillText(one.name, box.right + 7, one.at - over);
  }
}

/** The index of the sorted array's number nearest to `value`. */
export function nearest(sorted, value) {
  let [low, high] = [0, sorted.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low > 0 && value - sorted[low - 1] < sorted[low] - value ? low - 1 : low;
}

/** What all series have at (or last before) a step, in words. */
function wordsAt(series, step, unit) {
  const parts = series.filter((one) => one.x.length > 0 && one.x[0] <= step).map((one) => {
    let k = nearest(one.x, step);
    k -= one.x[k] > step ? 1 : 0;
    return `${one.name} ${short(one.y[k])}${one.x[k] < step ? ` (${unit} ${one.x[k]})` : ""}`;
  });
  return `${unit} ${tickText(step)}: ${parts.join(", ")}`;
}

/** The chart in a sentence or two, for those who do not see it. */
function summaryOf(title, series, unit) {
  const parts = series.filter((one) => !one.soft && one.x.length > 0).map((one) => {
    const [n, range] = [one.x.length, extent([one.y])];
    const odd = one.y.findIndex((value) => !Number.isFinite(value));
    return `${one.name}: ${short(one.y[0])} at ${unit} ${one.x[0]}, `
      + `${short(one.y[n - 1])} at ${unit} ${one.x[n - 1]}`
      + (range ? `, lowest ${short(range[0])}, highest ${short(range[1])}` : "")
      + (odd < 0 ? "" : `, not finite from ${unit} ${one.x[odd]}`);
  });
  return parts.length > 0 ? `${title}. ${parts.join(". ")}.` : `${title}: nothing yet.`;
}

/** A value of a distribution below which the share `part` lies, linear within its bin. */
export function quantile(edges, counts, part) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  let left = part * total;
  for (let bin = 0; bin < counts.length; bin++) {
    if (left <= counts[bin] && counts[bin] > 0) {
      return edges[bin] + (left / counts[bin]) * (edges[bin + 1] - edges[bin]);
    }
    left -= counts[bin];
  }
  return total > 0 ? edges[counts.length] : NaN;
}

/** Distributions over time: steps across, values up, dark where many numbers are.
 *
 * update({steps (n), edges (bins + 1), counts (n x bins)}, {at}); the line is the median, the
 * dashes are the 5th and 95th percentile.
 */
export function spread(element, {title, unit = "step", height = 190}) {
  const chart = {steps: [], edges: [], columns: [], bands: [], at: null};
  const picture = surface(height, (pen, width, tall, colours) => {
    chart.box = {left: 58, top: 10, right: width - 40, bottom: tall - 22};
    drawSpread(pen, chart, colours, unit, read.place());
  });
  const {output, summary} = frame(element, title, picture.canvas);
  const told = (k) => `${unit} ${tickText(chart.steps[k])}: median ${short(chart.bands[1][k])}, `
    + `90% within ${short(chart.bands[0][k])} to ${short(chart.bands[2][k])}`;
  const read = reader(picture.canvas, output, {
    label: `${title} by ${unit}`, count: () => chart.steps.length, redraw: picture.redraw, told,
    near: (pixel) => nearest(chart.steps, chart.toX?.invert(pixel)),
  });
  return {
    canvas: picture.canvas,
    update({steps, edges: fine, counts}, {at = null} = {}) {
      const bins = fine.length - 1;
      const {edges, columns} = coarser(fine,
        Array.from(steps, (_, k) => counts.subarray(k * bins, (k + 1) * bins)));
      const bands = [0.05, 0.5, 0.95].map((part) =>
        columns.map((column) => quantile(edges, column, part)));
      Object.assign(chart, {steps, edges, columns, bands, at});
      const n = steps.length;
      setText(summary, n > 0 ? `${title}. From ${told(0)}; to ${told(n - 1)}.`
        : `${title}: nothing yet.`);
      read.tell();
      picture.redraw();
    },
    mark(at = null) {
      if (chart.at !== at) {
        chart.at = at;
        picture.redraw();
      }
    },
  };
}

/** Fewer, wider bins where there are few numbers, so that the strip does not fall into lines. */
function coarser(edges, columns) {
  const total = columns[0]?.reduce((sum, count) => sum + count, 0) ?? 0;
  const by = [4, 2].find((n) => total < 2400 / n && (edges.length - 1) % n === 0) ?? 1;
  const merge = (column) => Float64Array.from({length: column.length / by}, (_, k) =>
    column.subarray(k * by, (k + 1) * by).reduce((sum, count) => sum + count, 0));
  return {edges: edges.filter((_, k) => k % by === 0), columns: columns.map(merge)};
}

/** Draws the strip, its percentiles and the places that are marked. */
function drawSpread(pen, chart, colours, unit, place) {
  const {box, steps, edges, columns, bands} = chart;
  const used = usedBins(columns);
  if (!used) {
    emptyText(pen, box.right + box.left, box.bottom, "nothing kept yet", colours);
    return;
  }
  const [bottom, top] = [edges[used[0]], edges[used[1] + 1]];
  const n = steps.length;
  const ends = [steps[0], n > 1 ? steps[n - 1] : steps[0] + 1];
  const x = scale(ends[0], ends[1], box.left, box.right);
  const y = scale(bottom, top, box.bottom, box.top);
  chart.toX = {invert: (pixel) => ends[0]
    + ((pixel - box.left) / (box.right - box.left)) * (ends[1] - ends[0])};
  pen.fillStyle = colours.accent;
  columns.forEach((column, k) => {
    const from = k === 0 ? box.left : (x(steps[k - 1]) + x(steps[k])) / 2;
    const to = k === n - 1 ? box.right : (x(steps[k]) + x(steps[k + 1])) / 2;
    heat(pen, column, used, edges, y, from, to);
  });
  pen.globalAlpha = 1;
  const across = Math.max(2, Math.min(6, Math.floor((box.right - box.left) / 80)));
  axes(pen, box, ticks(ends[0], ends[1], across).filter(Number.isInteger), ticks(bottom, top, 4),
    x, y, {...colours, line: "transparent"}, unit);
  const style = {name: "", colour: "ink"};
  const flat = {...colours};
  ["95%", "50%", "5%"].forEach((name, k) => {
    const band = bands[2 - k];
    curve(pen, box, {...style, x: steps, y: band, dash: k === 1 ? [] : [4, 3]}, x, y, flat);
  });
  nameLines(pen, box, ["95%", "50%", "5%"].map((name, k) => ({name, x: steps, y: bands[2 - k]})),
    y, colours);
  mark(pen, box, chart.at === null ? null : x(chart.at), colours.ink, [2, 3]);
  mark(pen, box, place === null ? null : x(steps[place]), colours.ink, []);
}

/** The first and last bin that any column uses. */
function usedBins(columns) {
  const used = columns.map((column) =>
    [column.findIndex((count) => count > 0), column.findLastIndex((count) => count > 0)])
    .filter(([first]) => first >= 0);
  return used.length === 0 ? null
    : [Math.min(...used.map(([first]) => first)), Math.max(...used.map(([, last]) => last))];
}

/** One column of the strip: as opaque as the root of the share of its fullest bin. */
function heat(pen, column, used, edges, y, from, to) {
  const most = column.reduce((a, b) => Math.max(a, b), 1);
  const [left, right] = [Math.floor(from), Math.floor(to)]; // less than a pixel: left out
  for (let bin = used[0]; bin <= used[1]; bin++) {
    if (column[bin] > 0 && right > left) {
      const [low, high] = [Math.round(y(edges[bin])), Math.round(y(edges[bin + 1]))];
      pen.globalAlpha = 0.08 + 0.8 * Math.sqrt(column[bin] / most);
      pen.fillRect(left, high, right - left, Math.max(1, low - high));
    }
  }
}
