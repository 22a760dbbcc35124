// Numbers as bars, one a line: a list that can be read, with bars behind the figures.
import { element } from "../shared/dom.js";

/** A list of bars from rows {name, value, said, href?, strong?}; those below zero go to the left of the middle. */
export function barList(rows, { signed = false, top = null } = {}) {
  const largest = top ?? Math.max(1e-12, ...rows.map(({ value }) => Math.abs(value ?? 0)));
  const lines = rows.map(({ name, value, said, href, strong, title }) => {
    const bar = element("i", { class: value < 0 ? "bar below" : "bar" });
    bar.style.setProperty("--share", Math.min(1, Math.abs(value ?? 0) / largest));
    const label = href ? element("a", { href }, name) : element("span", {}, name);
    return element(
      "li",
      { class: strong ? "strong" : null, title },
      label,
      element("span", { class: "track", "aria-hidden": true }, bar),
      element("b", {}, said),
    );
  });
  return element("ul", { class: signed ? "bars signed" : "bars" }, ...lines);
}
