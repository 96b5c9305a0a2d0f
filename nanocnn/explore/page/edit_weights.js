/** The weights of a layer as small maps, one map enlarged, and the editor of one weight. */
import {mountOneWeight} from "nanocnn/edit_one.js";
import {mountEnlarged} from "nanocnn/enlarged.js";
import {paint} from "nanocnn/colours.js";
import {parseWeight, planes, weightText} from "nanocnn/planes.js";
import {source} from "nanocnn/source.js";
import {state} from "nanocnn/state.js";
import {button, choice, el, fill, labelled, part, setText} from "nanocnn/widgets.js";

/** Maps, enlarged map and editor as one part of the panel. */
export function mountWeights(act) {
  const seen = {layer: null, name: "", channel: 0, shown: 1, plane: null, chosen: null};
  const name = choice("edit-param", [], () => choose(seen, {name: name.value}));
  const channel = el("input", {type: "number", id: "edit-channel", min: 0, step: 1, value: 0,
    onchange: () => choose(seen, {c: Number(channel.value)})});
  const ofChannel = labelled("input channel", channel);
  const filter = el("input", {type: "number", id: "edit-filter", min: 0, step: 1, value: 0,
    onchange: () => choose(seen, {f: Number(filter.value)})});
  const ofFilter = labelled("filter", filter);
  const more = button("edit-more", "Show more", () => {
    seen.shown = Math.min(seen.plane.most, 4 * seen.shown);
    draw();
  });
  const tiles = mountTiles(act, seen);
  const enlarged = mountEnlarged((i, j) => choose(seen, {i, j}), () => seen.chosen);
  const one = mountOneWeight(act);
  const none = el("p", {class: "note"});
  const toolbar = el("div", {class: "toolbar"}, labelled("array", name), ofFilter,
    ofChannel);
  const body = el("div", {class: "weights-body"}, toolbar, tiles.element, more,
    enlarged.element, one.element);
  const draw = () => drawAll(seen, {tiles, enlarged, one, more}).catch((error) => {
    setText(none, error.message);
    none.hidden = false;
  });
  return {
    element: part("edit-weights", "Its weights", none, body),
    refresh(layer) {
      const names = Object.keys(layer.params ?? {});
      none.hidden = names.length > 0;
      body.hidden = names.length === 0;
      if (names.length === 0) {
        setText(none, `${layer.name} has no weights: choose another layer above.`);
        return;
      }
      look(seen, layer, names);
      fill(name, names);
      name.value = seen.name;
      channel.max = seen.plane.channels - 1;
      channel.value = seen.chosen.c;
      ofChannel.hidden = seen.plane.channels < 2;
      filter.max = seen.plane.filters - 1;
      filter.value = seen.chosen.f;
      ofFilter.hidden = !seen.plane.unit;
      setText(ofFilter.firstChild, seen.plane.unit);
      draw();
    },
  };
}

/** Finds array, map and weight that the address names, or the first ones. */
function look(seen, layer, names) {
  const weight = parseWeight(state.get("weight"));
  const known = weight && names.includes(weight.name) && fits(weight.index,
    layer.params[weight.name]);
  const name = known ? weight.name : names[0];
  if (seen.layer !== layer || seen.name !== name) {
    const plane = planes(source.model, layer, name);
    Object.assign(seen, {layer, name, plane, shown: plane.first, chosen: {f: 0, c: 0, i: 0, j: 0}});
  }
  seen.chosen = known ? seen.plane.place(weight.index) : seen.chosen;
  seen.index = indexOf(seen);
}

const indexOf = ({plane, chosen}) => plane.index(chosen.f, chosen.c, chosen.i, chosen.j);

const fits = (index, shape) => index.length === shape.length
  && index.every((k, axis) => k < shape[axis]);

/** Puts a weight into the address; the panel follows from there. */
function choose(seen, change) {
  const {layer, plane, chosen} = seen;
  if ("name" in change) {
    const next = planes(source.model, layer, change.name);
    state.set({layer: layer.name, weight: weightText(change.name, next.index(0, 0, 0, 0))});
    return;
  }
  const clamp = (value, size) => Math.min(size - 1, Math.max(0, Math.round(value) || 0));
  const {f, c, i, j} = {...chosen, ...change};
  seen.chosen = {f: clamp(f, plane.filters), c: clamp(c, plane.channels),
    i: clamp(i, plane.h), j: clamp(j, plane.w)};
  state.set({layer: layer.name, weight: weightText(seen.name, indexOf(seen))});
}

/** Draws the maps and the chosen weight with the numbers of the current version. */
async function drawAll(seen, {tiles, enlarged, one, more}) {
  const {plane, chosen, layer, name, index} = seen;
  const stop = seen.shown;
  more.hidden = stop >= plane.most;
  setText(more, `Show more of the ${plane.filters} ${plane.unit}s`);
  const [all, alone] = await Promise.all([source.array(plane.request(chosen.c, stop)),
    source.array(plane.one(chosen.c, chosen.f))]);
  if (seen.index !== index) {
    return;
  }
  tiles.draw(Array.from({length: stop}, (_, f) => plane.map(all.data, stop, f, chosen.c)),
    all.whole);
  const map = plane.map(alone.data, 1, 0, chosen.c);
  enlarged.draw(map, plane, alone.whole, chosen, titleOf(seen));
  const value = map[chosen.i * plane.w + chosen.j];
  await one.draw({layer, name, index, value, dtype: alone.dtype, whole: alone.whole});
}

/** What the enlarged map shows, in words. */
function titleOf({plane, chosen, name}) {
  const of = plane.unit ? `, ${plane.unit} ${chosen.f}` : "";
  return `${name}${of}${plane.channels > 1 ? `, input channel ${chosen.c}` : ""}`;
}

/** The small maps: each a button to choose it and a box to switch its filter on or off. */
function mountTiles(act, seen) {
  const list = el("div", {class: "maps tiles"});
  const tiles = [];
  let built = "";
  const add = (f) => {
    const {layer, plane} = seen;
    const canvas = el("canvas", {class: "thumb"});
    const size = 44 / Math.max(plane.h, plane.w);
    canvas.style.width = `${Math.max(4, Math.round(plane.w * size))}px`;
    canvas.style.height = `${Math.max(4, Math.round(plane.h * size))}px`;
    const box = el("input", {type: "checkbox", id: `filter-${f}`, checked: true,
      "aria-label": `${plane.unit} ${f} on`, onchange: async () => {
        const on = box.checked;
        const done = await act("edit", {kind: "filter", layer: layer.name, filter: f, on});
        box.checked = done ? on : !on;
      }});
    const show = el("button", {type: "button", class: "map", "aria-label": `${plane.unit} ${f}`,
      onclick: () => choose(seen, {f})}, canvas);
    const tile = {canvas, box, show, element: el("div", {class: "tile"}, show,
      el("label", {}, box, ` ${f}`))};
    tiles.push(tile);
    list.append(tile.element);
  };
  return {
    element: list,
    draw(maps, whole) {
      const {layer, plane, name} = seen;
      const key = `${layer.name}:${name}`;
      if (built !== key) {
        built = key;
        tiles.length = 0;
        list.replaceChildren();
      }
      list.hidden = !plane.unit;
      while (tiles.length < maps.length && plane.unit) {
        add(tiles.length);
      }
      const off = source.info.off?.[layer.name] ?? [];
      tiles.forEach((tile, f) => {
        if (f < maps.length) {
          paint(tile.canvas, maps[f], plane.h, plane.w, whole);
        }
        tile.box.checked = !off.includes(f);
        tile.element.classList.toggle("off", !tile.box.checked);
        tile.show.setAttribute("aria-pressed", f === seen.chosen.f);
      });
    },
  };
}
