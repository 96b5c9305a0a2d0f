/** Drawing by keys: a pen that arrows move over the paper, and Space puts down and lifts. */

import {el} from "nanocnn/widgets.js";
import {say} from "nanocnn/message.js";

const STEP = 7; // of the paper's pixels: 40 steps across
const WAYS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

/**
 * The mark of the pen, shown while the canvas has the focus.
 * begin(point, erases) starts a stroke, extend(stroke, points) goes on with it.
 */
export function penByKeys(canvas, {begin, extend, erases, size}) {
  const mark = el("span", {class: "pen", hidden: true, "aria-hidden": "true"});
  const place = [size / 2, size / 4];
  let stroke = null;
  const show = () => {
    mark.style.left = `${100 * place[0] / size}%`;
    mark.style.top = `${100 * place[1] / size}%`;
    mark.classList.toggle("down", stroke !== null);
  };
  const lift = () => {
    stroke = null;
    show();
  };
  const move = ([right, down], steps) => {
    place[0] = Math.min(size, Math.max(0, place[0] + right * steps * STEP));
    place[1] = Math.min(size, Math.max(0, place[1] + down * steps * STEP));
    if (stroke) {
      extend(stroke, [[...place]]);
    }
    show();
  };
  const press = ({key, shiftKey}) => {
    if (WAYS[key]) {
      move(WAYS[key], shiftKey ? 4 : 1);
    } else if (key === " ") {
      stroke = stroke ? null : begin([...place], erases());
      say(stroke ? "The pen is down: arrows draw." : "The pen is up: arrows move it.");
      show();
    } else if (key === "Escape" && stroke) {
      lift();
    } else {
      return false;
    }
    return true;
  };
  canvas.tabIndex = 0;
  canvas.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey && press(event)) {
      event.preventDefault();
    }
  });
  canvas.addEventListener("focus", () => {
    mark.hidden = !canvas.matches(":focus-visible");
    show();
  });
  canvas.addEventListener("blur", () => {
    mark.hidden = true;
    lift();
  });
  return mark;
}
