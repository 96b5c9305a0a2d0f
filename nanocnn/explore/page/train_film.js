/** The first filters of an array at kept steps of the training, side by side. */
import {source} from "nanocnn/source.js";
import {filmstrip} from "nanocnn/tables.js";
import {planes} from "nanocnn/planes.js";
import {el, part, setText} from "nanocnn/widgets.js";

const SHOTS = 12; // columns, at most
const FILTERS = 8; // rows

/** The strip; `show(name, run)` brings it up to date. */
export function mountFilm() {
  const film = {name: "", branch: null, shots: new Map(), busy: false};
  const holder = el("div");
  const note = el("p", {class: "note"});
  const strip = filmstrip(holder, {label: "Filters over time"});
  return {
    element: part("train-film", "Filters as they change", holder, note),
    async show(name, run) {
      const plane = planeOf(name);
      if (film.name !== name || film.branch !== run.branch) {
        Object.assign(film, {name, branch: run.branch, shots: new Map()});
        strip.clear("");
      }
      if (!plane) {
        strip.clear("This array has no maps: choose a kernel above.");
        setText(note, "");
      } else if (!film.busy) {
        film.busy = true;
        holder.style.minHeight = `${40 * rows(plane) + 30}px`;
        await develop(film, plane, chosen(run.kept), strip, run.at);
        film.busy = false;
        setText(note, `The first ${rows(plane)} ${plane.unit}s of ${name}`
          + `${plane.channels > 1 ? ", input channel 0" : ""}, at kept steps; one colour scale.`);
      }
    },
  };
}

const rows = (plane) => Math.min(FILTERS, plane.filters);

/** How the array's numbers are maps, or null where they are none. */
function planeOf(name) {
  const at = name.lastIndexOf("/");
  const layer = source.model.layers.find((one) => one.name === name.slice(0, at));
  const array = name.slice(at + 1);
  const plane = layer?.params[array] ? planes(source.model, layer, array) : null;
  return plane?.unit ? plane : null;
}

/** The first kept step, the last, and between them those next to multiples of a power of two.
 *
 * So most of them stay the same while the training goes on.
 */
export function chosen(kept) {
  if (kept.length <= SHOTS) {
    return kept;
  }
  const [first, last] = [kept[0], kept.at(-1)];
  const spacing = 2 ** Math.ceil(Math.log2((last - first) / (SHOTS - 2)));
  const found = new Set([first, last]);
  for (let at = first + spacing; at < last; at += spacing) {
    found.add(kept.find((step) => step >= at));
  }
  return [...found].sort((a, b) => a - b);
}

/** Asks for the maps of the steps that are not known yet, and shows all of them. */
async function develop(film, plane, steps, strip, at) {
  const {name, shots} = film;
  const stop = rows(plane);
  const {index} = plane.request(0, stop);
  for (const step of steps.filter((one) => !shots.has(one))) {
    try {
      const {arrays: [{data, missing}]} = await source.call("kept", {step, name, index});
      if (!missing) { // else it was forgotten meanwhile
        const maps = Array.from({length: stop}, (_, f) => plane.map(data, stop, f, 0));
        shots.set(step, {step, maps, h: plane.h, w: plane.w, whole: range(maps)});
      }
    } catch {
      continue; // the banner says that the server is gone
    }
  }
  if (film.name === name && film.shots === shots) {
    const list = steps.map((step) => shots.get(step)).filter(Boolean);
    strip.update(list, Array.from({length: stop}, (_, f) => `${f}`), at);
  }
}

/** The least and the largest finite number of some maps. */
function range(maps) {
  const numbers = maps.flatMap((map) => Array.from(map)).filter(Number.isFinite);
  return [numbers.reduce((a, b) => Math.min(a, b), 0), numbers.reduce((a, b) => Math.max(a, b), 0)];
}
