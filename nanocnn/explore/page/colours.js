/**
 * Colours of numbers: blue below 0, paper at 0, orange above, told apart by the colour-blind, and
 * in grey print by the darker blue; NaN and infinity are magenta.
 */

import {short} from "nanocnn/numbers.js";

const BLUE = [[8, 48, 107], [0, 114, 178], [130, 190, 225]];
const ORANGE = [[253, 200, 130], [230, 130, 0], [150, 70, 0]];
const ZERO = [250, 250, 248];
export const NAN = [204, 60, 150];
const STEPS = 255;

const blend = (a, b, t) => a.map((v, i) => Math.round(v + (b[i] - v) * t));
const word = ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r;

function ramp(stops, t) {
  const at = t * (stops.length - 1);
  const i = Math.min(Math.floor(at), stops.length - 2);
  return blend(stops[i], stops[i + 1], at - i);
}

const PALETTES = {
  diverging: (t) => ramp([...BLUE, ZERO, ...ORANGE], t),
  image: (t) => blend([255, 255, 255], [17, 17, 17], t), // ink on paper
};
const TABLES = Object.fromEntries(
  Object.entries(PALETTES).map(([kind, colour]) => [
    kind, Int32Array.from({length: STEPS + 1}, (_, i) => word(colour(i / STEPS))),
  ]),
);
const NAN_WORD = word(NAN);

/** [smallest, largest] of the colour scale for a range of numbers: 0 stays in the middle. */
export function scale([low = 0, high = 0] = [], kind = "diverging") {
  if (kind === "image") {
    return [Math.min(0, low), Math.max(high, low + 1e-30)];
  }
  const most = Math.max(Math.abs(low), Math.abs(high)) || 1;
  return [-most, most];
}

/** Function from a number to its colour as one 32-bit word of an ImageData. */
export function colours(whole, kind = "diverging") {
  const [low, high] = scale(whole, kind);
  const table = TABLES[kind];
  const factor = STEPS / (high - low);
  return (v) => {
    const at = Math.round((v - low) * factor);
    return v - v !== 0 ? NAN_WORD : table[at < 0 ? 0 : at > STEPS ? STEPS : at];
  };
}

/** The CSS colour of a number, and black or white to write on it. */
export function css(v, whole, kind = "diverging") {
  const [low, high] = scale(whole, kind);
  const t = Math.min(1, Math.max(0, (v - low) / (high - low)));
  const [r, g, b] = Number.isFinite(v) ? PALETTES[kind](t) : NAN;
  const light = 0.3 * r + 0.59 * g + 0.11 * b > 140;
  return {fill: `rgb(${r},${g},${b})`, ink: light ? "#111" : "#fff"};
}

/** Paint h x w numbers, one pixel each, into a canvas; its CSS size makes the cells larger. */
export function paint(canvas, data, h, w, whole, {kind = "diverging"} = {}) {
  canvas.width = w;
  canvas.height = h;
  const context = canvas.getContext("2d");
  const image = context.createImageData(w, h);
  const words = new Int32Array(image.data.buffer);
  const colour = colours(whole, kind);
  for (let i = 0; i < words.length; i++) {
    words[i] = colour(data[i]);
  }
  context.putImageData(image, 0, 0);
}

/** A strip of the colours with the numbers below it, and the colour of NaN and infinity. */
export function legend(element, whole, {kind = "diverging"} = {}) {
  const [low, high] = scale(whole, kind);
  const key = `${kind} ${low} ${high}`;
  if (element.dataset.scale === key) {
    return;
  }
  element.dataset.scale = key;
  const strip = document.createElement("canvas");
  paint(strip, Float64Array.from({length: 101}, (_, i) => low + ((high - low) * i) / 100), 1, 101,
    [low, high], {kind});
  strip.className = "strip";
  strip.setAttribute("role", "img");
  strip.setAttribute("aria-label", `Colours from ${short(low)} to ${short(high)}`);
  const marks = document.createElement("div");
  marks.className = "marks";
  for (const v of kind === "image" ? [low, high] : [low, low / 2, 0, high / 2, high]) {
    const mark = document.createElement("span");
    mark.textContent = short(v, 2);
    marks.append(mark);
  }
  const odd = document.createElement("span");
  odd.className = "odd";
  odd.textContent = "NaN, inf";
  const box = document.createElement("div");
  box.append(strip, marks);
  element.classList.add("legend");
  element.replaceChildren(box, odd);
}
