// Numbers as people say them.

export const thousands = (count) => Math.round(count).toLocaleString("en");

/** A share in [0, 1]: 0.9876 is "98.8 %"; what nobody knows is "–". */
export function percent(share, digits = 1) {
  return share == null ? "–" : `${(100 * share).toFixed(digits)} %`;
}

/** A share that may be tiny: 0.0083 is "0.8 %", 0.00021 "under 0.1 %". */
export function smallPercent(share) {
  return share > 0 && share < 0.001 ? "under 0.1 %" : percent(share);
}

/** Seconds: 8.2 is "8 s", 75 "1 min 15 s", 3725 "1 h 2 min". */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days ${hours % 24} h`;
}

/** An epoch: 3 is "3", 2.9131 is "2.9". */
export function epochs(epoch) {
  return Number.isInteger(epoch) ? String(epoch) : epoch.toFixed(1);
}

export const clock = (date) => date.toLocaleTimeString("en-GB");

/** When a run began: the time today, and the day where it was another. */
export function began(started) {
  const date = new Date(started);
  if (Number.isNaN(date.getTime())) return "";
  const time = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (date.toDateString() === new Date().toDateString()) return `today ${time}`;
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" })}, ${time}`;
}

/** A text as plotly shows it unchanged: it would take tags for its own markup. */
export function plain(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** A number with three digits that count: 12.345 is "12.3", 0.000123 "0.000123", 12345 "12,300". */
export function figure(value) {
  if (value == null || Number.isNaN(value)) return "–";
  if (value !== 0 && Math.abs(value) < 1e-4) return value.toExponential(1).replace("-", "−").replace("e+", "e");
  return value.toLocaleString("en", { maximumSignificantDigits: 3 }).replace("-", "−");
}

/** A change with its sign: 0.0123 is "+0.0123". */
export function change(value) {
  return value > 0 ? `+${figure(value)}` : figure(value);
}

/** "1 channel", "64 channels". */
export function many(count, one, several = `${one}s`) {
  return `${thousands(count)} ${count === 1 ? one : several}`;
}
