/** Arrays as grids of cells: how maps and vectors are laid out, painted, hit and outlined. */

import {colours, css} from "nanocnn/colours.js";
import {short} from "nanocnn/numbers.js";
import {flat, inside, unflat} from "nanocnn/reach.js";

export const NUMBERED = 28; // from this size on a cell has its number in it
const LONG = 40; // longer vectors stand in several columns

/** The side of a square image whose pixels are a vector, or 0. */
export function side(shape) {
  const root = shape.length === 1 ? Math.sqrt(shape[0]) : 0;
  return root >= 7 && Number.isInteger(root) ? root : 0;
}

/** h, w and c of an array's shape: maps of one channel each; a vector is 1 x 1 maps. */
export function maps(shape) {
  if (shape.length === 3) {
    return {h: shape[0], w: shape[1], c: shape[2]};
  }
  if (shape.length === 2) {
    return {h: shape[0], w: shape[1], c: 1};
  }
  return {h: 1, w: 1, c: shape.reduce((a, b) => a * b, 1)};
}

/** Sizes in CSS pixels of `count` maps h x w with cells of `cell`, at most `height` high. */
export function layout({h, w}, count, cell, height, gap = 3) {
  const rows = Math.max(1, Math.floor((height + gap) / (h * cell + gap)));
  const columns = Math.ceil(count / rows);
  return sized({h, w, count, cell, gap, columns});
}

/** The same with so many maps beside each other. */
export function sized(about) {
  const {h, w, count, cell, gap, columns} = about;
  const rows = Math.ceil(count / columns);
  return {
    ...about, rows, width: columns * (w * cell + gap) - gap, height: rows * (h * cell + gap) - gap,
  };
}

/** The layout of a layer's first `count` maps in its column; `scale` makes all larger. */
export function columnLayout(shape, count, {height, scale}) {
  const {h, w, c} = maps(shape);
  if (h * w > 1) {
    const size = (c === 1 ? 112 : Math.max(h, w) > 20 ? 56 : 44) * scale;
    return layout({h, w}, count, Math.max(1, Math.floor(size / Math.max(h, w))), height);
  }
  if (count <= LONG) {
    const cell = Math.max(7, Math.min(22, Math.floor(height / count) - 2));
    return layout({h, w}, count, cell, height, 2);
  }
  return layout({h, w}, count, Math.floor((count > 700 ? 4 : 6) * scale), height, 1);
}

/** Top left corner of map m. */
export function corner({h, w, cell, gap, columns}, m) {
  return [(m % columns) * (w * cell + gap), Math.floor(m / columns) * (h * cell + gap)];
}

/** The canvas gets this layout's size, sharp on any screen; returns its context in CSS pixels. */
export function fit(canvas, {width, height}) {
  const ratio = globalThis.devicePixelRatio || 1;
  const size = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) {
    [canvas.width, canvas.height] = size;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.imageSmoothingEnabled = false;
  return context;
}

/** Paint channels 0.. of an array (h, w, c): one pixel a cell at first, then enlarged. */
export function paintGrid(canvas, array, grid, whole, kind) {
  const {h, w, cell, count, columns, rows} = grid;
  const channels = array.data.length / (h * w);
  const small = canvas.small ||= document.createElement("canvas");
  [small.width, small.height] = [columns * w, rows * h];
  const near = small.getContext("2d");
  const image = near.createImageData(small.width, small.height);
  const words = new Int32Array(image.data.buffer);
  const colour = colours(whole, kind);
  for (let m = 0; m < Math.min(count, channels); m++) {
    const top = Math.floor(m / columns) * h * small.width + (m % columns) * w;
    for (let i = 0, from = m; i < h; i++) {
      for (let j = 0; j < w; j++, from += channels) {
        words[top + i * small.width + j] = colour(array.data[from]);
      }
    }
  }
  near.putImageData(image, 0, 0);
  const context = fit(canvas, grid);
  context.clearRect(0, 0, grid.width, grid.height);
  context.strokeStyle = "rgba(128,128,128,0.3)";
  for (let m = 0; m < count; m++) {
    const [x, y] = corner(grid, m);
    const [column, row] = [m % columns, Math.floor(m / columns)];
    context.drawImage(small, column * w, row * h, w, h, x, y, w * cell, h * cell);
    if (w * cell > 10) {
      context.strokeRect(x + 0.5, y + 0.5, w * cell - 1, h * cell - 1);
    }
  }
}

/** Lines between the cells, and their numbers where there is room. */
export function paintNumbers(canvas, array, grid, whole, kind) {
  const {h, w, cell, count} = grid;
  const channels = array.data.length / (h * w);
  const context = fit(canvas, grid);
  context.strokeStyle = "rgba(128,128,128,0.35)";
  context.lineWidth = 1;
  context.font = `${Math.min(13, Math.floor(cell / 3.1))}px "DejaVu Sans Mono", monospace`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.beginPath();
  for (let m = 0; m < count; m++) {
    const [left, top] = corner(grid, m);
    for (let i = 0; i <= h; i++) {
      context.moveTo(left, top + i * cell);
      context.lineTo(left + w * cell, top + i * cell);
    }
    for (let j = 0; j <= w; j++) {
      context.moveTo(left + j * cell, top);
      context.lineTo(left + j * cell, top + h * cell);
    }
  }
  context.stroke();
  for (let k = 0; cell >= NUMBERED && k < array.data.length; k++) {
    const [m, position] = [k % channels, Math.floor(k / channels)];
    const [left, top] = corner(grid, m);
    const [x, y] = [left + (position % w) * cell, top + Math.floor(position / w) * cell];
    context.fillStyle = css(array.data[k], whole, kind).ink;
    context.fillText(tight(array.data[k]), x + cell / 2, y + cell / 2 + 1, cell - 2);
  }
}

/** Two digits, without the 0 before the point: what fits into a cell. */
function tight(v) {
  return short(v, 2).replace(/^(-?)0\./, "$1.");
}

/** [i, j, m] of the point (x, y), or null between the maps. */
export function hit(grid, x, y) {
  const {h, w, cell, gap, columns, count} = grid;
  const [column, row] = [Math.floor(x / (w * cell + gap)), Math.floor(y / (h * cell + gap))];
  const m = row * columns + column;
  const [left, top] = corner(grid, m);
  const [i, j] = [Math.floor((y - top) / cell), Math.floor((x - left) / cell)];
  const inside = x >= 0 && y >= 0 && column < columns && m < count && i < h && j < w;
  return inside ? [i, j, m] : null;
}

/** The point of a pointer event in the canvas's own pixels. */
export function point(canvas, event) {
  const box = canvas.getBoundingClientRect();
  const scale = box.width ? parseFloat(canvas.style.width) / box.width : 1;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

/** Outline [top, left, bottom, right] of map m: dark on light, seen on any colour. */
export function outline(context, grid, m, box, {width = 2, dashed = false, colour = "#111"} = {}) {
  const {h, w, cell} = grid;
  const [x, y] = corner(grid, m);
  const [top, left] = [Math.max(0, box[0]), Math.max(0, box[1])];
  const [bottom, right] = [Math.min(h, box[2]), Math.min(w, box[3])];
  if (m >= grid.count || bottom <= top || right <= left) {
    return;
  }
  const area = [x + left * cell, y + top * cell, (right - left) * cell, (bottom - top) * cell];
  context.setLineDash(dashed ? [4, 3] : []);
  context.strokeStyle = "#fff";
  context.lineWidth = width + 2;
  context.strokeRect(...area);
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.strokeRect(...area);
  context.setLineDash([]);
}

/** The coordinates in an array's shape ("cell") of [i, j, m], and back. */
export function toCell(shape, [i, j, m]) {
  return shape.length === 3 ? [i, j, m] : shape.length === 2 ? [i, j] : unflat(m, shape);
}

/** [i, j, m] of a cell, or null where it lies outside of the shape. */
export function fromCell(shape, cell) {
  if (!cell || !cell.every(Number.isInteger) || !inside(cell, shape)) {
    return null;
  }
  if (shape.length === 3 || shape.length === 2) {
    return [cell[0], cell[1], cell[2] ?? 0];
  }
  return [0, 0, flat(cell, shape)];
}
