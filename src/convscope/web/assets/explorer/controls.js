// Choices: a few as buttons side by side, many as a list that opens.
import { element } from "../shared/dom.js";

let made = 0;

/** Choices as radio buttons in a row: {node, set(choices, value)}; `turn` hears what is chosen. */
export function choiceOf(legend, choices, turn, value = null) {
  const name = `choice-${++made}`;
  const node = element("fieldset", { class: "choice" }, element("legend", { class: "hidden" }, legend));
  let shown = "";
  const set = (next, chosen) => {
    if (JSON.stringify(next) !== shown) {
      shown = JSON.stringify(next);
      node.replaceChildren(node.firstChild, ...next.map(([each, words]) => option(each, words)));
      node.hidden = next.length < 2;
    }
    for (const input of node.querySelectorAll("input")) input.checked = input.value === chosen;
  };
  const option = (each, words) => {
    const input = element("input", { type: "radio", name, value: each, onchange: () => turn(each) });
    return element("label", {}, input, element("span", {}, words));
  };
  set(choices, value);
  return { node, set };
}

/** A list that opens: {node, set(value)}. */
export function selectOf(choices, turn, value = null) {
  const node = element("select", {}, ...choices.map(([each, words]) => element("option", { value: each }, words)));
  node.addEventListener("change", () => turn(node.value));
  const set = (next) => (node.value = choices.some(([each]) => each === next) ? next : choices[0]?.[0]);
  if (value != null) set(value);
  return { node, set };
}

/** A control with its words before it. */
export function field(words, control) {
  return element("label", { class: "field" }, element("span", {}, words), control);
}

export function unavailable(control, is) {
  if (control.disabled !== is) control.disabled = is;
}

/** A part of a page under a heading. */
export function section(heading, ...children) {
  return element("section", {}, element("h3", {}, heading), ...children);
}

/** A line that says that something is on its way. */
export function waiting(words) {
  return element("p", { class: "waiting note" }, words);
}

/** A line that says what went wrong. */
export function failed(error) {
  return element("p", { class: "trouble" }, error.message);
}
