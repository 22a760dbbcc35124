// Choosing a class: a few stand in a list that opens, many are found by typing a part of their name.
import { element } from "../shared/dom.js";
import { selectOf } from "./controls.js";

const FEW = 24;
let made = 0;

/** A choice of one of the classes, or of none: {node, control, set(value), setNone(words)}.
 *
 * A value is the class's number as text, or "" for none, which `none` describes; `turn` hears it.
 */
export function classChoice(classes, none, turn, value = "") {
  const names = named(classes);
  const choice = names.length > FEW ? finderOf(names, none, turn) : listOf(names, none, turn);
  choice.set(value);
  return choice;
}

/** The names, with their number where there is none or several classes have the same. */
function named(classes) {
  const counts = new Map();
  for (const name of classes) counts.set(name, (counts.get(name) ?? 0) + 1);
  return classes.map((name, number) => (counts.get(name) > 1 || !name.trim() ? `${name} (${number})` : name));
}

function listOf(names, none, turn) {
  const choices = names.map((name, number) => [String(number), name]);
  const { node, set } = selectOf(none ? [["", none], ...choices] : choices, turn);
  return { node, control: node, set, setNone: (words) => (node.options[0].textContent = words) };
}

function finderOf(names, none, turn) {
  const id = `classes-${++made}`;
  const numbers = new Map(names.map((name, number) => [name.toLowerCase(), String(number)]));
  const list = element("datalist", { id });
  const input = element("input", { type: "search", list: id, placeholder: none || "find a class …", autocomplete: "off", spellcheck: "false" });
  const typed = () => input.value.trim().toLowerCase();
  const fill = () => list.append(...names.map((name) => element("option", { value: name })));
  input.addEventListener("focus", fill, { once: true });
  input.addEventListener("input", () => {
    if (numbers.has(typed())) turn(numbers.get(typed()));
    else if (!typed() && none) turn("");
  });
  input.addEventListener("change", () => {
    if (!typed() || numbers.has(typed())) return;
    const found = names.findIndex((name) => name.toLowerCase().includes(typed()));
    if (found < 0) return;
    input.value = names[found];
    turn(String(found));
  });
  const set = (value) => {
    if (document.activeElement !== input) input.value = value === "" ? "" : (names[Number(value)] ?? "");
  };
  return { node: element("span", {}, input, list), control: input, set, setNone: (words) => (input.placeholder = words) };
}
