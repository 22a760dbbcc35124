// What the network says of a probe image: the image, and a bar for each class.
import { arrange, element, say } from "../shared/dom.js";
import { percent } from "../shared/words.js";

const MOST = 10; // classes shown; of more, the likeliest

export class Probabilities {
  #image = element("img", { class: "probe", alt: "" });
  #about = element("p", { class: "note" });
  #rows = element("ol", { class: "bars" });
  #heading = element("h4", {}, "Probabilities");

  constructor() {
    const asked = element("div", { class: "asked" }, this.#image, this.#about);
    this.root = element("div", { class: "part says" }, this.#heading, asked, this.#rows);
  }

  /** Shows the probabilities of the classes; nothing where they are not known. */
  show(shares, { names, label, index, image }) {
    this.root.hidden = !shares;
    if (!shares) return;
    const name = (place) => names[place] ?? String(place);
    const best = shares.indexOf(Math.max(...shares));
    const shown = shares.map((_, place) => place);
    if (shares.length > MOST) shown.sort((one, other) => shares[other] - shares[one]).splice(MOST);
    if (image && this.#image.src !== image) this.#image.src = image;
    this.#image.hidden = !image;
    this.#image.alt = `Test image ${index}: ${name(label)}`;
    const verdict = best === label ? "right" : `it is ${name(label)}`;
    say(this.#about, `Test image ${index}. It says ${name(best)} (${percent(shares[best], 0)}): ${verdict}.`);
    while (this.#rows.children.length < shown.length) this.#rows.append(makeRow());
    arrange(this.#rows, [...this.#rows.children].slice(0, shown.length));
    shown.forEach((place, row) => {
      const [who, bar, share] = this.#rows.children[row].children;
      say(who, name(place));
      bar.style.setProperty("--share", shares[place]);
      bar.className = `bar ${place === label ? "right" : "other"}`;
      say(share, percent(shares[place], 0));
    });
  }
}

function makeRow() {
  return element("li", {}, ...["who", "bar", "share"].map((name) => element("span", { class: name })));
}
