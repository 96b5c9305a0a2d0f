/** Charts made of elements: paired bars, a confusion matrix, filters over time. */
import {paint} from "nanocnn/colours.js";
import {short} from "nanocnn/numbers.js";
import {el, setText} from "nanocnn/widgets.js";

/** Bars of shares (0 to 1), a row a name; a second value is shown as an outline behind.
 *
 * update(names, values, before, marked): `before` may be null; `marked` is the row of the true
 * label or null.
 */
export function bars(element, {label, id = null}) {
  const list = el("ol", {class: "pairs", "aria-label": label, id});
  element.append(list);
  const rows = [];
  const add = () => {
    const row = {
      name: el("span", {class: "pair-name"}), number: el("span", {class: "number"}),
      value: el("span", {class: "pair-value"}), before: el("span", {class: "pair-before"}),
    };
    row.item = el("li", {}, row.name,
      el("span", {class: "pair-track", "aria-hidden": "true"}, row.value, row.before),
      row.number);
    rows.push(row);
    list.append(row.item);
  };
  return {
    update(names, values, before = null, marked = null) {
      while (rows.length < names.length) {
        add();
      }
      rows.forEach((row, k) => {
        row.item.hidden = k >= names.length;
        if (k < names.length) {
          fillRow(row, names[k], values?.[k], before?.[k], k === marked);
        }
      });
    },
  };
}

/** Puts the numbers of one row of bars. */
function fillRow(row, name, value, before, marked) {
  const percent = (part) => `${Math.max(0, Math.min(1, Number.isFinite(part) ? part : 0)) * 100}%`;
  setText(row.name, `${name}${marked ? " ✓" : ""}`);
  row.item.classList.toggle("marked", marked);
  row.value.style.width = percent(value);
  row.before.style.width = percent(before);
  row.before.hidden = before === null || before === undefined;
  setText(row.number, shareText(value));
  row.number.title = row.before.hidden ? "" : `before: ${shareText(before)}`;
}

/** A share in percent, with a digit more where it is nearly none or nearly all. */
export function shareText(value) {
  if (value === undefined || value === null) {
    return "";
  }
  return Number.isFinite(value) ? `${(value * 100).toFixed(1)}%` : short(value);
}

/** A confusion matrix as a table: rows the true labels, columns the answers, darker is more.
 *
 * update(counts (K x K), names). Right answers stand on the outlined diagonal; wrong ones are
 * shaded by their share of the fullest wrong cell.
 */
export function confusion(element, {id = "confusion"} = {}) {
  const table = el("table", {class: "confusion", id});
  const note = el("p", {class: "note"});
  element.append(el("div", {class: "scroll"}, table), note);
  return {
    update(counts, names) {
      const n = names.length;
      const at = (row, column) => counts[row * n + column];
      const wrong = names.map((_, row) => names.map((_, column) => row !== column
        ? {row, column, count: at(row, column)} : null)).flat().filter(Boolean);
      const worst = wrong.reduce((a, b) => (b.count > a.count ? b : a), {count: 0});
      const cell = (row, column) => matrixCell(at(row, column), row === column, worst.count,
        `${names[row]} taken for ${names[column]}: ${at(row, column)}`);
      const sums = names.map((_, row) => names.reduce((sum, _, k) => sum + at(row, k), 0));
      table.replaceChildren(
        el("caption", {}, "True label down, answer across"),
        el("thead", {}, el("tr", {}, el("td", {}),
          ...names.map((name) => el("th", {scope: "col"}, name)),
          el("th", {scope: "col"}, "right"))),
        el("tbody", {}, ...names.map((name, row) => el("tr", {},
          el("th", {scope: "row"}, name), ...names.map((_, column) => cell(row, column)),
          el("td", {class: "sum"}, sums[row] ? `${Math.round(100 * at(row, row) / sums[row])}%`
            : "")))));
      const right = names.reduce((sum, _, k) => sum + at(k, k), 0);
      const all = sums.reduce((a, b) => a + b, 0);
      setText(note, `${right} of ${all} right.` + (worst.count > 0 ? ` Most often wrong: `
        + `${names[worst.row]} taken for ${names[worst.column]}, ${worst.count} times.` : ""));
    },
  };
}

/** One number of the matrix; zeros stay quiet. */
function matrixCell(count, right, worst, title) {
  const cell = el("td", {title, class: right ? "right" : count > 0 ? "wrong" : "none"},
    count > 0 || right ? `${count}` : "·");
  if (!right && count > 0) {
    const part = Math.round(10 + 35 * Math.sqrt(count / worst)); // legible in the dark too
    cell.style.backgroundColor = `color-mix(in srgb, var(--accent2) ${part}%, transparent)`;
  }
  return cell;
}

/** A canvas that shows a small map of numbers. */
export function thumbnail(data, h, w, whole, {kind = "diverging", label = "", size = null} = {}) {
  const canvas = el("canvas", {class: "thumb", role: "img", "aria-label": label});
  paint(canvas, data, h, w, whole, {kind});
  if (size !== null) {
    const scale = size / Math.max(h, w);
    canvas.style.width = `${Math.round(w * scale)}px`;
    canvas.style.height = `${Math.round(h * scale)}px`;
  }
  return canvas;
}

/** Filters over time: a row a filter, a column a step; one colour scale for all of them.
 *
 * update(shots, names, at): a shot is {step, maps: [data], h, w, whole: [smallest, largest]}.
 */
export function filmstrip(element, {label, size = 36}) {
  const table = el("table", {class: "film"});
  const frame = el("div", {class: "scroll", role: "region", "aria-label": label}, table);
  element.append(frame);
  let shown = "";
  return {
    clear(text) {
      shown = "";
      frame.tabIndex = -1; // nothing to scroll
      table.replaceChildren(el("caption", {}, text));
    },
    update(shots, names, at = null) {
      const key = JSON.stringify([shots.map((shot) => shot.step), names]);
      if (key !== shown) {
        shown = key;
        frame.tabIndex = 0;
        const all = [Math.min(...shots.map((shot) => shot.whole[0])),
          Math.max(...shots.map((shot) => shot.whole[1]))];
        table.replaceChildren(
          el("thead", {}, el("tr", {}, el("th", {scope: "col"}, "step"),
            ...shots.map((shot) => el("th", {scope: "col"}, `${shot.step}`)))),
          el("tbody", {}, ...names.map((name, row) => el("tr", {}, el("th", {scope: "row"}, name),
            ...shots.map(({step, maps, h, w}) => el("td", {}, thumbnail(maps[row], h, w, all,
              {size, label: `${name} at step ${step}`})))))));
      }
      const heads = table.querySelectorAll("thead th");
      shots.forEach((shot, k) => heads[k + 1].classList.toggle("at", shot.step === at));
    },
  };
}
