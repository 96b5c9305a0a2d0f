/** The digit: drawn with mouse, pen or finger, from an image, or picked; and how it is read. */

import {state} from "nanocnn/state.js";
import {source} from "nanocnn/source.js";
import {paint as paintArray} from "nanocnn/colours.js";
import {maps, side} from "nanocnn/grid.js";
import {base64} from "nanocnn/packed.js";
import {button, el} from "nanocnn/widgets.js";
import {say} from "nanocnn/message.js";
import {penByKeys} from "nanocnn/draw_keys.js";
import * as answer from "nanocnn/answer.js";
import * as picker from "nanocnn/picker.js";

const SIZE = 280; // of the paper, in its own pixels
const SENT = 140; // of what is sent: enough for 28 x 28
const BRUSH = 22;
const FRAME = 16; // ms
const isLink = state.get("digit") !== null; // the reader asked for the digit that is shown first
let strokes = []; // {erase, points: [[x, y], ...]}; or "clear"
let base = null; // canvas with the digit that was there before the first stroke
let paper = null; // 2d context
let read = null; // canvas: as the network reads it
let isErasing = false;
let isOwn = false; // the paper shows the reader's drawing
let flying = false;
let isStale = false;
let small = null;

/** Build the panel. */
export function mount(element) {
  element.append(el("h2", {}, source.session.can_draw ? "Digit" : "Sample"));
  if (source.session.can_draw && !source.static) {
    element.append(...drawing());
    dropping(element);
  } else {
    read = el("canvas", {id: "read", class: "read alone", role: "img"});
    element.append(read);
  }
  answer.mount(element);
  if (source.session.tests && !source.static) {
    picker.mount(element);
  }
  source.on("change", showRead);
  showRead();
}

/** Paper, tools, and beside the paper the digit as it is read. */
function drawing() {
  const canvas = el("canvas", {id: "paper", width: SIZE, height: SIZE, role: "application"});
  canvas.setAttribute("aria-label", "Paper to draw a digit on, with mouse, pen or finger; "
    + "by keys: arrows move the pen, Space puts it down and lifts it.");
  paper = canvas.getContext("2d", {willReadFrequently: true});
  [small, read] = [el("canvas", {width: SENT, height: SENT}), el("canvas", {id: "read"})];
  read.className = "read";
  read.setAttribute("role", "img");
  pointers(canvas);
  const pen = penByKeys(canvas, {begin, extend, erases: () => isErasing, size: SIZE});
  const file = el("input", {type: "file", id: "image-file", accept: "image/*", class: "sr"});
  file.addEventListener("change", () => {
    sendImage(file.files[0]);
    file.value = "";
  });
  const tools = el("div", {class: "toolbar"},
    button("brush", "Brush", () => erase(false)), button("eraser", "Eraser", () => erase(true)),
    button("undo-stroke", "Undo", undo), button("clear", "Clear", clear),
    button("choose-image", "Image…", () => file.click()), file);
  file.tabIndex = -1;
  file.setAttribute("aria-label", "Image of a digit");
  const figure = (child, caption) => el("figure", {}, child, el("figcaption", {}, caption));
  setTimeout(() => erase(false));
  const sheet = el("div", {class: "sheet"}, canvas, pen);
  return [el("div", {class: "papers"}, figure(sheet, "as drawn, or drop an image"),
    figure(read, "as read")), tools];
}

function erase(on) {
  isErasing = on;
  document.getElementById("brush").setAttribute("aria-pressed", !on);
  document.getElementById("eraser").setAttribute("aria-pressed", on);
}

function pointers(canvas) {
  let stroke = null;
  const at = ({clientX, clientY}) => {
    const box = canvas.getBoundingClientRect();
    return [(clientX - box.left) * SIZE / box.width, (clientY - box.top) * SIZE / box.height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    const isPen = event.button === 0 || event.button === 5; // 5: its rubber end
    if (stroke || !isPen) { // one finger draws, a palm or a second one does not
      return;
    }
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    stroke = begin(at(event), isErasing || event.button === 5);
    stroke.id = event.pointerId;
  });
  canvas.addEventListener("pointermove", (event) => {
    if (stroke?.id !== event.pointerId) {
      return;
    }
    const moves = event.getCoalescedEvents?.() ?? [];
    extend(stroke, (moves.length ? moves : [event]).map(at));
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
    canvas.addEventListener(name, (event) => {
      stroke = stroke?.id === event.pointerId ? null : stroke;
    });
  }
}

/** A new stroke at a point of the paper. */
function begin(point, erases) {
  const stroke = {erase: erases, points: [point]};
  if (isGreeting() && !erases) { // else a 7 would be drawn over it
    strokes.push("clear");
    redraw();
  }
  strokes.push(stroke);
  isOwn = true;
  line(stroke, 0);
  changed();
  return stroke;
}

function extend(stroke, points) {
  const first = stroke.points.length;
  stroke.points.push(...points);
  line(stroke, first);
  changed();
}

/** Whether the paper shows the digit that the page began with, which nobody chose. */
function isGreeting() {
  const [now, first] = [source.info.digit, source.session.digit];
  return !isLink && !strokes.length && now?.kind === "test" && now.index === first?.index;
}

/** Draw a stroke from its point number `first` on. */
function line({erase: rub, points}, first) {
  paper.globalCompositeOperation = rub ? "destination-out" : "source-over";
  paper.strokeStyle = "#111";
  [paper.lineWidth, paper.lineCap, paper.lineJoin] = [rub ? 2 * BRUSH : BRUSH, "round", "round"];
  paper.beginPath();
  paper.moveTo(...points[Math.max(0, first - 1)]);
  points.slice(Math.max(0, first - 1)).forEach((point) => paper.lineTo(...point));
  paper.stroke();
  paper.globalCompositeOperation = "source-over";
}

function redraw() {
  const last = strokes.lastIndexOf("clear");
  paper.clearRect(0, 0, SIZE, SIZE);
  if (last < 0 && base) {
    paper.drawImage(base, 0, 0, SIZE, SIZE);
  }
  strokes.slice(last + 1).forEach((stroke) => line(stroke, 0));
}

function undo() {
  if (strokes.length) {
    strokes.pop();
    isOwn = true;
    redraw();
    changed();
  }
}

function clear() {
  source.isLabelChosen = false;
  strokes.push("clear");
  isOwn = true;
  redraw();
  changed();
}

/** Send the paper at most once a frame, one request at a time, always the newest. */
function changed() {
  performance.mark("stroke-start");
  if (isStale) {
    return;
  }
  isStale = true;
  if (!flying) {
    requestAnimationFrame(send);
  }
}

async function send() {
  isStale = false;
  flying = true;
  const start = performance.now();
  try {
    const body = {drawing: base64(ink()), width: SENT, height: SENT};
    const {label} = source.info;
    await source.call("digit", source.isLabelChosen ? {...body, label} : body);
    measure(start);
  } catch (error) {
    say(error.message, true);
  } finally {
    flying = false;
    if (isStale && performance.now() - start > FRAME) {
      send();
    } else if (isStale) {
      requestAnimationFrame(send);
    }
  }
}

/** performance.measure "stroke": from the last point sent until the screen shows the answer. */
function measure(sent) {
  const starts = performance.getEntriesByName("stroke-start", "mark");
  const last = starts.findLast((mark) => mark.startTime <= sent);
  requestAnimationFrame(() => {
    const {port1, port2} = new MessageChannel();
    port1.onmessage = () => {
      performance.measure("stroke", {start: last?.startTime ?? sent, end: performance.now()});
      port1.close();
    };
    port2.postMessage(null);
  });
  if (starts.length > 500) {
    performance.clearMarks("stroke-start");
  }
}

/** The paper as ink, 255 where it is black. */
function ink() {
  const context = small.getContext("2d", {willReadFrequently: true});
  context.clearRect(0, 0, SENT, SENT);
  context.drawImage(paper.canvas, 0, 0, SENT, SENT);
  const {data} = context.getImageData(0, 0, SENT, SENT);
  return Uint8Array.from({length: SENT * SENT}, (_, i) => data[4 * i + 3]);
}

/** The input of the network; and on the paper, if the digit is not the reader's drawing. */
async function showRead() {
  const array = await source.array({layer: null, what: "x"}).catch(() => null);
  if (!array) {
    return;
  }
  const {h, w, c} = imageShape(array.shape);
  read.hidden = h * w === 1;
  const first = c === 1 ? array.data : array.data.filter((_, i) => i % c === 0);
  if (c === 3 && array.whole[0] >= 0) {
    paintColours(array, h, w);
  } else {
    const kind = c === 1 && array.whole[0] >= 0 ? "image" : "diverging";
    paintArray(read, first, h, w, array.whole, {kind});
  }
  const {digit, prediction} = source.info;
  read.setAttribute("aria-label", `The digit as the network reads it, ${h} by ${w} pixels.`);
  if (paper && !flying && prediction) {
    follow(digit, {data: first, h, w, most: array.whole[1] || 1});
  }
}

/** An image of red, green and blue. */
function paintColours({data, whole}, h, w) {
  [read.width, read.height] = [w, h];
  const context = read.getContext("2d");
  const image = context.createImageData(w, h);
  const most = whole[1] > 1 ? 255 : 1;
  for (let i = 0; i < h * w; i++) {
    const rgb = [0, 1, 2].map((k) => Math.round((255 * data[3 * i + k]) / most));
    image.data.set([...rgb, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

/** A vector that holds a square image is shown as one. */
function imageShape(shape) {
  return side(shape) ? {h: side(shape), w: side(shape), c: 1} : maps(shape);
}

/** A digit that did not come from the paper is put onto it, to be drawn on. */
function follow(digit, {data, h, w, most}) {
  const mine = isOwn && digit?.kind === "drawn";
  if (mine) {
    return;
  }
  isOwn = false;
  strokes = [];
  base = el("canvas", {width: w, height: h});
  const context = base.getContext("2d");
  const image = context.createImageData(w, h);
  for (let i = 0; i < h * w; i++) {
    image.data.set([17, 17, 17, Math.max(0, Math.round((255 * data[i]) / most))], 4 * i);
  }
  context.putImageData(image, 0, 0);
  redraw();
}

/** Images that are dropped or pasted. */
function dropping(element) {
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    element.classList.add("over");
  });
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("over");
    sendImage(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) {
      sendImage(event.clipboardData.files[0]);
    }
  });
}

async function sendImage(file) {
  if (!file) {
    return;
  }
  [isOwn, source.isLabelChosen] = [false, false];
  try {
    await source.call("image", file);
    say(`${file.name || "The image"} is read as a digit; correct its true label below if need be.`);
  } catch (error) {
    say(error.message, true);
  }
}

state.on(["digit"], () => {
  if (!flying && state.get("digit")?.startsWith("test:")) {
    [isOwn, source.isLabelChosen] = [false, false];
  }
});
