// A layer's channels as rows: which of them, and in which order.

export const SORTS = [
  ["channel", "number"],
  ["maximum", "highest value"],
  ["mean", "mean value"],
  ["share_active", "how often active"],
  ["selectivity", "selectivity"],
  ["favourite", "favourite class"],
];

export const KINDS = [
  ["all", "all"],
  ["live", "live"],
  ["selective", "selective (≥ 0.5)"],
  ["dead", "dead"],
  ["duplicate", "duplicates"],
];

const SELECTIVE = 0.5; // a class excites the channel three times as much as the others

/** The rows that the query's conditions leave, in its order; what is equal stays in the channels' order. */
export function orderRows(rows, { sort = "channel", kind = "all", class: favourite = "", find = "", classes = [] }) {
  const words = find.trim().toLowerCase();
  const left = rows.filter((row) => isKind(row, kind) && favours(row, favourite) && matches(row, words, classes));
  if (sort === "channel" || !left.some((row) => row[sort] != null)) return left;
  const sign = sort === "favourite" ? 1 : -1;
  return left.toSorted((one, other) => sign * (one[sort] - other[sort]) || (other.selectivity ?? 0) - (one.selectivity ?? 0));
}

function isKind(row, kind) {
  if (kind === "live") return !row.dead;
  if (kind === "dead") return Boolean(row.dead);
  if (kind === "duplicate") return row.duplicate_of != null;
  return kind !== "selective" || (!row.dead && row.selectivity >= SELECTIVE);
}

function favours(row, favourite) {
  return !favourite || (!row.dead && row.favourite === Number(favourite));
}

/** Whether the row is one of the numbers, or its favourite class's name holds the words. */
function matches(row, words, classes) {
  if (!words) return true;
  if (/^[\d\s,;-]+$/.test(words)) return inNumbers(row.channel, words);
  return !row.dead && row.favourite != null && (classes[row.favourite] ?? "").toLowerCase().includes(words);
}

/** Whether a number is in a list such as "3, 7, 10-20". */
function inNumbers(number, words) {
  return words.split(/[\s,;]+/).some((part) => {
    const [from, to = from] = part.split("-").map((each) => (each === "" ? Number.NaN : Number(each)));
    return number >= from && number <= to;
  });
}
