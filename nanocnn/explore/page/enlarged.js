/** One map of weights, large enough to choose a weight in it by mouse or arrow keys. */
import {FONT, line, surface} from "nanocnn/canvas.js";
import {css} from "nanocnn/colours.js";
import {short} from "nanocnn/numbers.js";
import {ARROWS, el, setText} from "nanocnn/widgets.js";

const TALL = 240; // pixels, of the map
const LARGEST = 60; // pixels, of a weight

/** The map; `choose(i, j)` is called for the weight that the reader picks, `now()` is the last. */
export function mountEnlarged(choose, now) {
  const shown = {map: null};
  const picture = surface(TALL, (pen, width, height, colours) =>
    shown.map && drawMap(pen, width, height, colours, shown));
  const {canvas} = picture;
  const title = el("figcaption", {class: "chart-title"});
  canvas.id = "edit-map";
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.addEventListener("pointerdown", (event) => {
    const {cell, h, w} = shown;
    const [i, j] = [Math.floor(event.offsetY / cell), Math.floor(event.offsetX / cell)];
    if (i < h && j < w) {
      choose(i, j);
    }
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.key in ARROWS && shown.map) {
      const [down, right] = ARROWS[event.key];
      event.preventDefault();
      event.stopPropagation();
      choose(now().i + down, now().j + right);
    }
  });
  return {
    element: el("figure", {class: "chart-frame"}, title, canvas),
    draw(map, {h, w}, whole, at, words) {
      Object.assign(shown, {map, h, w, whole, at});
      setText(title, words);
      picture.resize(Math.min(TALL, h * LARGEST) + 4);
      canvas.setAttribute("aria-label", `${words}: ${h} by ${w} weights. Row ${at.i}, column `
        + `${at.j} is chosen: ${short(map[at.i * w + at.j], 4)}. Arrow keys choose another.`);
      picture.redraw();
    },
  };
}

/** Cells in their colours, with numbers where there is room, and the chosen one outlined. */
function drawMap(pen, width, height, colours, shown) {
  const {map, h, w, whole, at} = shown;
  const cell = Math.max(1, Math.min(LARGEST, (width - 4) / w, (height - 4) / h));
  shown.cell = cell;
  pen.font = cell >= 46 ? FONT : FONT.replace("12px", "10px");
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (let k = 0; k < h * w; k++) {
    const [top, left] = [Math.floor(k / w) * cell, (k % w) * cell];
    const {fill, ink} = css(map[k], whole);
    pen.fillStyle = fill;
    pen.fillRect(left, top, cell + 0.5, cell + 0.5);
    if (cell >= 38) {
      pen.fillStyle = ink;
      pen.fillText(short(map[k], 2), left + cell / 2, top + cell / 2);
    }
  }
  pen.strokeStyle = colours.line;
  pen.lineWidth = 1;
  pen.strokeRect(0.5, 0.5, w * cell, h * cell);
  for (let k = 1; k < Math.max(h, w) && cell >= 12; k++) {
    pen.globalAlpha = 0.5;
    k < w && line(pen, k * cell, 0, k * cell, h * cell);
    k < h && line(pen, 0, k * cell, w * cell, k * cell);
  }
  pen.globalAlpha = 1;
  outline(pen, at.j * cell, at.i * cell, Math.max(4, cell), colours);
}

/** A frame that is seen on every colour: ink with paper around it. */
function outline(pen, left, top, size, colours) {
  pen.lineWidth = 5;
  pen.strokeStyle = colours.paper;
  pen.strokeRect(left + 1, top + 1, size - 1, size - 1);
  pen.lineWidth = 2.5;
  pen.strokeStyle = colours.ink;
  pen.strokeRect(left + 1, top + 1, size - 1, size - 1);
}
