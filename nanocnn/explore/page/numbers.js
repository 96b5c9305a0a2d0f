/** Numbers as text. */

const NAMES = {NaN: "NaN", Infinity: "inf", "-Infinity": "-inf"};

/** Shortest decimal that reads back as the same number of this dtype ("float32", "float64"). */
export function text(v, dtype = "float32") {
  if (!Number.isFinite(v)) {
    return NAMES[String(v)] ?? String(v);
  }
  if (dtype !== "float32" || Number.isInteger(v)) {
    return Object.is(v, -0) ? "-0" : String(v);
  }
  for (let digits = 1; digits <= 9; digits++) {
    const rounded = Number(v.toPrecision(digits));
    if (Math.fround(rounded) === v) {
      return String(rounded);
    }
  }
  return String(v);
}

/** Rounded to so many significant digits, for tight places. */
export function short(v, digits = 3) {
  if (!Number.isFinite(v)) {
    return NAMES[String(v)] ?? String(v);
  }
  if (v === 0) {
    return "0";
  }
  const size = Math.abs(v);
  if (size >= 1e5 || size < 1e-3) {
    return v.toExponential(Math.max(0, digits - 2)).replace("e+", "e");
  }
  const plain = v.toPrecision(digits);
  return String(plain.includes("e") ? Number(plain) : plain);
}

/** 1234567 as 1,234,567. */
export function count(n) {
  return n.toLocaleString("en");
}

/** "28 × 28 × 20" */
export function shape(sizes) {
  return sizes.join(" × ") || "1";
}
