/** The answer of the network as bars, its loss, and the choice of the true label. */

import {state} from "nanocnn/state.js";
import {source} from "nanocnn/source.js";
import {short, text} from "nanocnn/numbers.js";
import {el} from "nanocnn/widgets.js";
import {say} from "nanocnn/message.js";

const MOST = 40; // classes with a bar
const rows = []; // of outputs
const dots = []; // radio buttons of labels
let summary = null;

/** Build the bars. */
export function mount(element) {
  const labels = source.info.label === null ? [] : source.session.labels;
  const count = Math.min(MOST, source.info.prediction.length);
  const isEach = labels.length === source.info.prediction.length; // a class an output
  const group = el("fieldset", {class: "bars", id: "answer"},
    el("legend", {}, isEach ? "Answer; the dot marks the true label" : "Answer"));
  for (let k = 0; k < count; k++) {
    group.append(row(isEach ? labels[k] : String(k), k, isEach));
  }
  if (labels.length && !isEach) {
    group.append(el("div", {class: "toolbar"}, "True label", ...labels.map(choice)));
  }
  summary = el("p", {id: "summary", class: "note", "aria-live": "polite"});
  element.append(group, summary);
  if (source.model.layers.some(isDifferent) && !source.static) {
    element.append(mode());
  }
  source.on("change", show);
  show();
}

/** A radio button for the true label k. */
function dot(name, k) {
  const radio = el("input", {type: "radio", name: "label", value: k, disabled: source.static});
  radio.setAttribute("aria-label", `true label ${name}`);
  radio.addEventListener("change", () => {
    source.isLabelChosen = true;
    state.set({label: k}, {push: true});
  });
  dots.push(radio);
  return radio;
}

/** For a model of one output and two classes. */
const choice = (name, k) => el("label", {}, dot(name, k), name);

function row(name, k, isChoice) {
  const fill = el("div", {class: "fill"});
  const number = el("span", {class: "number"});
  const box = el(isChoice ? "label" : "div", {class: "bar", "data-class": k});
  box.append(isChoice ? dot(name, k) : "", el("span", {class: "name"}, name),
    el("div", {class: "track"}, fill), number);
  rows.push({box, fill, number, name, isChoice});
  return box;
}

/** Layers that compute something else in training. */
const isDifferent = ({random, kind}) => random || kind === "BatchNormalization";

/** The switch between inference and training, and another draw of what is random. */
function mode() {
  const box = el("input", {type: "checkbox", id: "training"});
  const again = el("button", {type: "button", id: "new-mask"}, "Draw anew");
  again.title = "Other random numbers: another dropout mask";
  let seed = 0;
  box.addEventListener("change", () => {
    state.set({training: box.checked ? "1" : null}, {push: true});
  });
  again.addEventListener("click", () => {
    seed += 1;
    source.call("mode", {training: true, seed}).catch((error) => say(error.message, true));
  });
  const follow = () => {
    box.checked = Boolean(source.info.training);
    again.hidden = !box.checked;
  };
  source.on("change", follow);
  follow();
  return el("div", {class: "toolbar"},
    el("label", {}, box, "as in training: dropout, batch statistics"), again);
}

function show() {
  const {prediction, label, loss} = source.info;
  const values = prediction.map(Number);
  const best = values.indexOf(Math.max(...values));
  const isShare = values.every((v) => v >= 0 && v <= 1.0001);
  const most = isShare ? 1 : Math.max(1e-30, ...values.map(Math.abs));
  dots.forEach((radio, k) => {
    radio.checked = k === label;
  });
  rows.forEach(({box, fill, number, isChoice}, k) => {
    const v = values[k];
    fill.style.transform = `scaleX(${Number.isFinite(v) ? Math.abs(v) / most : 0})`;
    number.textContent = isShare ? `${(100 * v).toFixed(v > 0.9995 || v < 0.0005 ? 0 : 1)} %`
      : short(v);
    number.title = text(v, source.model.dtype);
    box.classList.toggle("best", k === best);
    box.classList.toggle("true", isChoice && k === label);
  });
  const read = rows[best]?.isChoice ? `Read as ${rows[best].name}. ` : "";
  summary.textContent = `${read}Loss ${short(Number(loss), 4)}.`;
  summary.title = text(Number(loss), source.model.dtype);
}
