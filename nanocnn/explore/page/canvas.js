/** What all drawn charts share: a crisp canvas, colours of the page, ticks, a place to read at. */
import {el, setText, soon} from "nanocnn/widgets.js";

const NAMES = ["ink", "paper", "line", "soft", "accent", "accent2", "nan"];
const FALLBACK = {ink: "#222", paper: "#fff", line: "#bbb", soft: "#eee", accent: "#0072b2",
  accent2: "#d55e00", nan: "#cc00aa"};
export const FONT = "12px system-ui, sans-serif";

/** The page's colours as they are now (light or dark). */
export function palette(element) {
  const style = getComputedStyle(element);
  const read = (name) => style.getPropertyValue(`--${name}`).trim() || FALLBACK[name];
  return Object.fromEntries(NAMES.map((name) => [name, read(name)]));
}

/** A canvas of given height that draws itself anew when its width or the colours change. */
export function surface(height, draw) {
  const canvas = el("canvas", {class: "chart"});
  const resize = (tall) => {
    height = tall;
    canvas.style.height = `${tall}px`;
  };
  resize(height);
  const redraw = soon(() => {
    const width = canvas.clientWidth;
    if (width === 0) {
      return;
    }
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.font = FONT;
    pen.lineJoin = "round";
    draw(pen, width, height, palette(canvas));
  });
  new ResizeObserver(redraw).observe(canvas);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  return {canvas, redraw, resize};
}

/** About `count` round numbers within [low, high], two at least. */
export function ticks(low, high, count) {
  if (!(high > low)) {
    return [low];
  }
  const raw = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) * power;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return last - first < 1 ? ticks(low, high, 2 * count)
    : Array.from({length: last - first + 1}, (_, k) => round((first + k) * step));
}

/** The powers of ten within [low, high], or round numbers where there are fewer than two. */
export function logTicks(low, high) {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  if (last - first < 1) {
    return ticks(low, high, 3).filter((value) => value > 0);
  }
  const leap = Math.ceil((last - first) / 5);
  return Array.from({length: Math.floor((last - first) / leap) + 1}, (_, k) =>
    round(10 ** (first + k * leap)));
}

/** A number without the digits that binary fractions add. */
export function round(value, digits = 4) {
  return Number.isFinite(value) ? Number(value.toPrecision(digits + 2)) : value;
}

/** A tick's text: short, and with a power of ten where it is very small or large. */
export function tickText(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e5)) {
    return value.toExponential(0).replace("e+", "e");
  }
  return size >= 1000 ? value.toLocaleString("en", {maximumFractionDigits: 0}) : `${value}`;
}

/** A map of numbers to pixels, linear or logarithmic. */
export function scale(low, high, from, to, log = false) {
  const f = log ? Math.log : (value) => value;
  const [a, b] = [f(low), f(high)];
  return (value) => (b > a ? from + ((f(value) - a) / (b - a)) * (to - from) : (from + to) / 2);
}

/** Grid lines and numbers of both axes, and what is counted across. */
export function axes(pen, box, xs, ys, x, y, colours, unit) {
  pen.lineWidth = 1;
  pen.strokeStyle = colours.line;
  pen.fillStyle = colours.ink;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const value of ys) {
    const at = Math.round(y(value)) + 0.5;
    line(pen, box.left, at, box.right, at);
    pen.fillText(tickText(value), box.left - 6, at);
  }
  pen.textBaseline = "top";
  for (const value of xs) {
    const at = x(value);
    line(pen, Math.round(at) + 0.5, box.bottom, Math.round(at) + 0.5, box.bottom + 4);
    pen.textAlign = at > box.right - 12 ? "right" : at < box.left + 12 ? "left" : "center";
    pen.fillText(tickText(value), at, box.bottom + 6);
  }
  pen.textAlign = "left";
  pen.globalAlpha = 0.7;
  pen.fillText(unit, box.right + 7, box.bottom + 6);
  pen.globalAlpha = 1;
}

/** A straight line. */
export function line(pen, x1, y1, x2, y2, dash = []) {
  pen.setLineDash(dash);
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
  pen.setLineDash([]);
}

/** A sentence in the middle of a chart that has nothing to show yet. */
export function emptyText(pen, width, height, text, colours) {
  pen.fillStyle = colours.ink;
  pen.globalAlpha = 0.7;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(text, width / 2, height / 2, width - 16);
  pen.globalAlpha = 1;
}

/** Lets mouse and arrow keys move a place along a chart; what stands there is read out below.
 *
 * `count()` places, `near(x)` the place at a pixel, `told(place)` its words. Screen readers meet
 * the chart as a slider whose value is those words.
 */
export function reader(canvas, output, {label, count, near, told, redraw}) {
  let place = null;
  const move = (to) => {
    const last = count() - 1;
    place = to === null || last < 0 ? null : Math.min(last, Math.max(0, to));
    tell();
    redraw();
  };
  const tell = () => {
    const last = count() - 1;
    const shown = last < 0 ? null : Math.min(place ?? last, last);
    const words = shown === null ? "nothing to show yet" : told(shown);
    setText(output, place === null ? "" : words);
    canvas.setAttribute("aria-valuemax", Math.max(0, last));
    canvas.setAttribute("aria-valuenow", shown ?? 0);
    canvas.setAttribute("aria-valuetext", words);
  };
  const keys = {
    ArrowLeft: (at, last, leap) => at - leap, ArrowRight: (at, last, leap) => at + leap,
    Home: () => 0, End: (at, last) => last,
  };
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "slider");
  canvas.setAttribute("aria-label", label);
  canvas.setAttribute("aria-valuemin", 0);
  canvas.addEventListener("pointermove", (event) => move(near(event.offsetX)));
  canvas.addEventListener("pointerdown", (event) => move(near(event.offsetX)));
  canvas.addEventListener("pointerleave", () => move(null));
  canvas.addEventListener("blur", () => move(null));
  canvas.addEventListener("keydown", (event) => {
    const last = count() - 1;
    if (event.key in keys && last >= 0) {
      const leap = event.shiftKey ? Math.max(1, Math.round(last / 10)) : 1;
      move(keys[event.key](place ?? last, last, leap));
      event.preventDefault();
      event.stopPropagation();
    } else if (event.key === "Escape") {
      move(null);
    }
  });
  return {place: () => place, tell};
}
