/** What the changes did: answer, loss and accuracy before and after. */
import {count, short} from "nanocnn/numbers.js";
import {source} from "nanocnn/source.js";
import {bars, shareText} from "nanocnn/tables.js";
import {debounced, el, part, setText} from "nanocnn/widgets.js";

const ROWS = [["answer", "answer"], ["loss", "loss of this digit"], ["accuracy", "accuracy"],
  ["test-loss", "loss of the test digits"]];

/** The table of before and after with the bars of the answer. */
export function mountEffects() {
  const cells = Object.fromEntries(ROWS.map(([name]) => [name, {
    before: el("td", {class: "number", id: `${name}-before`}),
    after: el("td", {class: "number", id: name}),
  }]));
  const note = el("p", {class: "note"});
  const table = el("table", {class: "effects"},
    el("thead", {}, el("tr", {}, el("td", {}), el("th", {scope: "col"}, "before"),
      el("th", {scope: "col"}, "now"))),
    el("tbody", {}, ...ROWS.map(([name, text]) => el("tr", {},
      el("th", {scope: "row", id: `${name}-title`}, text), cells[name].before,
      cells[name].after))));
  const element = part("edit-effects", "What it does", table, note);
  const probabilities = bars(element, {label: "Probabilities, before as an outline"});
  const memory = {key: "", before: null, unchanged: null, current: null, measured: -1};
  const measure = debounced(() => measureAccuracy(memory, cells), 400);
  return {
    element,
    refresh() {
      const {info} = source;
      remember(memory, info);
      showAnswer(cells, memory, info);
      setText(note, noteText(memory, info));
      showBars(probabilities, memory, info);
      showAccuracy(cells, memory);
      if (memory.measured !== info.version && !source.running) {
        measure();
      }
    },
  };
}

/** Keeps the answer of the unchanged network for this digit, label and step of training. */
function remember(memory, info) {
  const key = JSON.stringify([info.digit, info.label, info.training, info.step]);
  if (!info.edits) {
    Object.assign(memory, {key, before: {prediction: info.prediction, loss: info.loss}});
  } else if (memory.key !== key) {
    Object.assign(memory, {key, before: null});
  }
}

/** The answer's name and probability. */
function answerText(prediction) {
  if (!prediction?.length) {
    return "–";
  }
  const values = prediction.map(Number);
  const best = values.reduce((at, value, k) => (value > values[at] ? k : at), 0);
  return `${labels()[best] ?? best} (${areShares(values) ? shareText(values[best])
    : short(values[best])})`;
}

/** Whether the outputs are probabilities, not logits or other numbers. */
const areShares = (values) => !source.model.output?.logits
  && values.every((value) => value >= 0 && value <= 1.0001);

const labels = () => source.session?.labels ?? [];
const lossText = (loss) => (loss === null || loss === undefined ? "–" : short(Number(loss), 4));

function showAnswer(cells, {before}, info) {
  setText(cells.answer.before, before ? answerText(before.prediction) : "–");
  setText(cells.answer.after, answerText(info.prediction));
  setText(cells.loss.before, before ? lossText(before.loss) : "–");
  setText(cells.loss.after, lossText(info.loss));
}

/** Why there is nothing to compare with, or how much was changed. */
function noteText({before}, {edits}) {
  if (!edits) {
    return "Nothing is changed yet.";
  }
  const made = `${edits} ${edits === 1 ? "change" : "changes"}.`;
  return before ? made : `${made} Digit or training moved on since: undo them to compare.`;
}

function showBars(probabilities, {before}, info) {
  const values = info.prediction?.map(Number) ?? [];
  const shares = values.length > 1 && values.length <= 20 && areShares(values);
  const names = values.map((_, k) => labels()[k] ?? `${k}`);
  probabilities.update(shares ? names : [], values,
    info.edits && before ? before.prediction.map(Number) : null, info.label ?? null);
}

function showAccuracy(cells, {unchanged, current}) {
  const share = (value) => (value === null || value === undefined ? "–" : shareText(value));
  for (const [result, place] of [[unchanged, "before"], [current, "after"]]) {
    setText(cells.accuracy[place], share(result?.accuracy));
    setText(cells["test-loss"][place], lossText(result?.loss));
  }
}

/** Asks for the accuracy of the network as it is; that of the unchanged one is kept. */
async function measureAccuracy(memory, cells) {
  const {edits, version} = source.info;
  if (!source.session?.tests || memory.measured === version) {
    return;
  }
  const result = await source.call("accuracy").catch(() => null); // the next change asks again
  if (result) {
    memory.measured = result.version;
    memory.current = result;
    memory.unchanged = edits || result.version !== version ? memory.unchanged : result;
    setText(document.getElementById("accuracy-title"),
      `accuracy (${count(result.count)} test digits)`);
    showAccuracy(cells, memory);
  }
}
