/** What a reader can try: nudge a weight, check gradients, compute one step of the optimizer. */

import {source} from "nanocnn/source.js";
import {short} from "nanocnn/numbers.js";
import {full, ledger} from "nanocnn/terms.js";
import {el, labelled} from "nanocnn/widgets.js";

/** The names of a layer's parameters that have gradients. */
export const trained = (layer) => layer.trained ?? Object.keys(layer.params);

const button = (id, words, onclick) => el("button", {type: "button", id, onclick}, words);

/** Where answers appear, and a maker of functions that ask for one. */
function answers() {
  const out = el("div", {class: "answer", "aria-live": "polite"});
  const ask = (action, body, show) => async () => {
    out.setAttribute("aria-busy", "true");
    try {
      out.replaceChildren(...show(await source.call(action, body()), body()).filter(Boolean));
    } catch (error) {
      out.replaceChildren(el("p", {class: "error"}, error.message));
    }
    out.removeAttribute("aria-busy");
  };
  return {out, ask};
}

/** For a weight: nudge it, check the gradients of its array, one optimizer step. */
export function weightActions(layer, name, index) {
  if (source.static) return [];
  const where = {layer: layer.name, name, index};
  const {out, ask} = answers();
  const input = el("input", {type: "number", id: "nudge-e", value: "0.001", step: "any"});
  const nudge = ask("nudge", () => ({...where, e: input.valueAsNumber || 0.001}), nudged);
  input.addEventListener("keydown", (event) => event.key === "Enter" && nudge());
  return [
    el("div", {class: "toolbar"},
      labelled("Nudge this weight by e =", input), button("nudge", "Nudge", nudge),
      button("gradcheck", `Check all gradients of ${name}`,
        ask("gradcheck", () => ({layer: layer.name, name}), checked)),
      button("step-weight", "One optimizer step", ask("step", () => where, stepped))),
    out,
  ];
}

/** For a layer (null: the image): check the gradients of each of its arrays. */
export function checkActions(layer) {
  if (source.static) return [];
  const {out, ask} = answers();
  const names = layer ? trained(layer) : ["x"];
  const one = (name) => button(`gradcheck-${name}`,
    layer ? `Check all gradients of ${name}` : "Check the gradient of the image",
    ask("gradcheck", () => ({layer: layer?.name ?? source.model.layers[0].name, name}), checked));
  return names.length ? [el("div", {class: "toolbar"}, ...names.map(one)), out] : [];
}

/** The answer of `nudge`: the difference quotient beside the gradient. */
function nudged({before, after, quotient, exact, gradient}, {e}) {
  const line = (words, value, digits) => [words, el("span", {
    class: "number", "data-what": words, "data-value": String(value),
  }, digits ? String(Number(Number(value).toPrecision(digits))) : full(Number(value)))];
  return [
    ledger(line("loss before", before), line(`loss with w + ${e}`, after),
      line("change of the loss", after - before, 6),
      line("quotient (L(w + e) - L(w - e)) / 2e", quotient, 8),
      line("quotient in float64", exact.quotient, 8), line("gradient", gradient)),
    el("p", {class: "quiet"}, "The weight is as before: the nudge was only tried."),
  ];
}

/** The answer of `gradcheck`. */
function checked({checked: count, wrong, error, text}) {
  const good = !(wrong > 0);
  const verdict = good ? "all agree" : `${wrong} differ`;
  return [
    el("p", {class: good ? "good" : "error"}, `${count} gradients compared with difference `
      + `quotients in float64: ${verdict}; largest difference ${short(Number(error), 2)}.`),
    text ? el("p", {class: "quiet"}, text) : null,
  ];
}

/** The answer of `step`: every number of one optimizer step, with its formula. */
function stepped({terms, optimizer}) {
  const row = ([name, {formula, value}]) => [
    [name, el("span", {class: "words"}, formula.startsWith(`${name} = `)
      ? formula.slice(name.length + 1) : formula)],
    el("span", {class: "number", "data-what": `step:${name}`, "data-value": String(value)},
      full(Number(value))),
  ];
  return [
    ledger(...Object.entries(terms).map(row)),
    el("p", {class: "quiet"}, `What ${optimizer} would do to this weight after this digit alone, `
      + "as in training (dropout and batch statistics on). The weight is as before."),
  ];
}
