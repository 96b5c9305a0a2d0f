/** The panel to change the network: weights, filters, freezing, dropout, undo, and what it does. */
import {mountEffects} from "nanocnn/edit_effects.js";
import {mountExcites} from "nanocnn/edit_excites.js";
import {mountWeights} from "nanocnn/edit_weights.js";
import {source} from "nanocnn/source.js";
import {state} from "nanocnn/state.js";
import {button, choice, el, fill, inView, labelled, setText, soon} from "nanocnn/widgets.js";

const FORMATS = [["npz", "npz (nanocnn)"], ["keras", "keras"], ["h5", "h5 (Keras, HDF5)"]];

/** The layer that the panel is about: the selected one, or the first that has weights. */
function chosenLayer() {
  const {layers} = source.model;
  return layers.find((layer) => layer.name === state.get("layer"))
    ?? layers.find(canChange) ?? layers[0];
}

const hasWeights = (layer) => Object.keys(layer.params ?? {}).length > 0;
const canChange = (layer) => hasWeights(layer) || typeof layer.rate === "number";

/** Builds the panel in `element`. */
export function mount(element) {
  if (source.static) {
    element.append(el("p", {class: "note"}, "A saved page: its network cannot be changed."));
    return;
  }
  const status = el("p", {class: "note", id: "edit-status", role: "status"});
  const act = actions(status);
  const head = mountHead(act);
  const weights = mountWeights(act);
  const effects = mountEffects();
  const excites = mountExcites(act);
  element.classList.add("panel-edit");
  element.append(head.element, status,
    el("div", {class: "half sticky"}, effects.element),
    el("div", {class: "half"}, weights.element, excites.element));
  const refresh = soon(() => {
    if (inView(element)) {
      const layer = chosenLayer();
      [head, weights, effects, excites].forEach((one) => one.refresh(layer));
    }
  });
  source.on("change", refresh);
  state.on(["layer", "weight", "panel"], refresh);
  new ResizeObserver(refresh).observe(element);
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input:not([type=checkbox]):not([type=range]), textarea");
    const key = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey);
    if (key && !event.shiftKey && !typing && inView(element)) {
      event.preventDefault();
      act("undo");
    }
  });
  refresh();
}

/** act(action, body): asks the server, says what went wrong; null where it did not work. */
function actions(status) {
  return async (action, body = {}, told = "") => {
    try {
      const result = await source.call(action, body);
      setText(status, told);
      return result;
    } catch (error) {
      setText(status, error.message);
      return null;
    }
  };
}

/** The layer, and what holds for it or for the network as a whole. */
function mountHead(act) {
  const select = choice("edit-layer", [], () =>
    state.set({layer: select.value, weight: null, cell: null}, {push: true}));
  const undo = button("edit-undo", "Undo", () => act("undo", {}, "Took back the last change."),
    {title: "Ctrl+Z"});
  const reset = button("edit-reset", "Reset all", () =>
    act("reset", {}, "The network is as it was loaded."));
  const frozen = el("input", {type: "checkbox", id: "edit-freeze", onchange: () =>
    act("edit", {kind: "freeze", layer: chosenLayer().name, on: frozen.checked})});
  const rate = el("input", {type: "number", id: "edit-rate", min: 0, max: 0.95, step: 0.05,
    onchange: () => act("edit", {kind: "rate", layer: chosenLayer().name,
      rate: Number(rate.value)})});
  const freezing = el("span", {class: "field"}, frozen,
    el("label", {for: "edit-freeze"}, "freeze: training leaves it alone"));
  const dropping = labelled("dropout rate", rate, el("span", {class: "note"},
    "acts in training, and on this digit where “as in training” is switched on"));
  const toolbar = el("div", {class: "toolbar"}, labelled("layer", select), undo, reset,
    ...download(act));
  const about = el("div", {class: "toolbar"}, freezing, dropping);
  return {
    element: el("div", {class: "part"}, toolbar, about),
    refresh(layer) {
      const {edits, frozen: held, rates} = source.info;
      fill(select, source.model.layers.map((one) =>
        [one.name, canChange(one) ? one.name : `${one.name} (no weights)`]));
      select.value = layer.name;
      undo.disabled = reset.disabled = !edits;
      setText(undo, edits ? `Undo (${edits})` : "Undo");
      freezing.hidden = !hasWeights(layer);
      frozen.checked = held ? held.includes(layer.name) : layer.trainable === false;
      dropping.hidden = typeof layer.rate !== "number";
      if (document.activeElement !== rate) {
        rate.value = rates?.[layer.name] ?? layer.rate;
      }
    },
  };
}

/** Saves the network as it is now to a file of the reader. */
function download(act) {
  const format = choice("download-format", FORMATS, () => {});
  const save = async () => {
    const result = await act("download", {format: format.value});
    if (result) {
      const address = URL.createObjectURL(new Blob([result.arrays[0].data]));
      const link = el("a", {href: address, download: result.name});
      document.body.append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(address), 10000);
    }
  };
  return [button("download", "Download", save, {title: "the network as it is now"}),
    labelled("as", format)];
}
