// How much of each layer answers, and how many of its channels are silent.
import { element } from "../shared/dom.js";
import { percent } from "../shared/words.js";

export class Layers {
  #body = element("tbody", {});
  #shown = "";

  constructor() {
    const names = ["Layer", "Active positions", "Silent channels"];
    const heads = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)));
    const table = element("table", {}, element("thead", {}, heads), this.#body);
    this.root = element("div", { class: "part layers" }, element("h4", {}, "Layers"), table);
  }

  /** Shows the summaries of a frame; layers that say nothing of their activity (convolutions) are left out. */
  show(layers) {
    const told = layers.filter(({ active }) => active != null);
    this.root.hidden = !told.length;
    const shown = JSON.stringify(told);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#body.replaceChildren(...told.map(makeRow));
  }
}

function makeRow({ name, active, silent, channels }) {
  const bar = element("span", { class: "bar other" });
  bar.style.setProperty("--share", active);
  const number = element("span", { class: "share" }, percent(active, 0));
  const share = element("td", {}, element("span", { class: "with-bar" }, bar, number));
  const quiet = element("td", { class: silent > channels / 4 ? "alarming" : "" }, `${silent} of ${channels}`);
  return element("tr", {}, element("th", { scope: "row" }, name), share, quiet);
}
