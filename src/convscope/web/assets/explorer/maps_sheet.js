// A layer's feature maps of an image side by side; any cell of any map can be pointed at, and chosen.
import { element, say } from "../shared/dom.js";
import { ask } from "../shared/server.js";
import { many } from "../shared/words.js";
import { api } from "./addresses.js";
import { keepOf } from "./keep.js";
import { Picture } from "./picture.js";

const WIDE = 80; // pixels on the screen that a map should have at least
const AT_ONCE = 64;
const TINY = { below: 4, wide: 44, atOnce: 256 }; // maps of fewer cells than that across

/** So many columns, or somewhat fewer where that fills the last line. */
function evenColumns(count, most) {
  const full = Math.max(1, Math.min(count, most));
  for (let columns = full; columns >= 0.7 * full; columns -= 1) if (count % columns === 0) return columns;
  return full;
}

export class MapsSheet {
  #image;
  #hear;
  #layer = null;
  #shape = null;
  #first = 0;
  #columns = 8;
  #scale = 1;
  #selected = null;
  #asked = 0;
  #picture = new Picture("", "feature maps", { waiting: "computing the maps …" });
  #lines = element("i", { class: "lines", "aria-hidden": true });
  #tile = element("i", { class: "pointed", hidden: true, "aria-hidden": true });
  #cell = element("i", { class: "cell", hidden: true, "aria-hidden": true });
  #hovered = element("i", { class: "hovered", hidden: true, "aria-hidden": true });
  #words = element("span", {});
  #keep = keepOf();
  #legend = element("span", { class: "legend", hidden: true });
  #board;
  #sizes;

  /** `hear.choose(unit)` when a cell is chosen, `hear.open(unit)` when its channel is to be opened. */
  constructor(image, hear) {
    this.#image = image;
    this.#hear = hear;
    this.#board = element(
      "div",
      { class: "sheet", tabindex: "0", role: "application", "aria-label": "Feature maps: arrows move from cell to cell, Enter opens the channel" },
      ...[this.#picture.node, this.#lines, this.#tile, this.#hovered, this.#cell],
    );
    this.node = element("div", { class: "sheet-place" }, this.#board, element("p", { class: "note sheet-words" }, this.#words, this.#legend), this.#keep.node);
    this.pages = element("span", { class: "pages" });
    this.#board.addEventListener("click", (event) => this.#click(event));
    this.#board.addEventListener("pointermove", (event) => this.#hover(event));
    this.#board.addEventListener("pointerleave", () => this.#leave());
    this.#board.addEventListener("keydown", (event) => this.#press(event));
    this.#sizes = new ResizeObserver(() => this.#resize());
    this.#sizes.observe(this.node);
  }

  close() {
    this.#asked += 1;
    this.#sizes.disconnect();
    this.#picture.clear();
  }

  /** Show a layer's maps, those around the selected unit's channel. */
  async show(layer, selected = null) {
    const mine = ++this.#asked;
    this.#layer = layer;
    this.#selected = selected;
    this.#first = 0;
    say(this.#words, "computing the maps …");
    try {
      const shape = await ask(api.maps(this.#image, layer));
      if (mine !== this.#asked) return;
      this.#shape = shape;
    } catch (error) {
      if (mine !== this.#asked) return;
      this.#shape = null;
      this.#picture.clear();
      say(this.#words, error.message);
      return;
    }
    if (selected) this.#first = this.#pageOf(selected.channel);
    await this.#draw();
  }

  /** Mark a unit: {channel, y, x}, or null for none. */
  select(unit) {
    this.#selected = unit;
    if (unit && this.#shape && this.#pageOf(unit.channel) !== this.#first) {
      this.#first = this.#pageOf(unit.channel);
      this.#draw();
    } else {
      this.#mark();
    }
  }

  get #count() {
    return Math.min(this.#atOnce, this.#shape.channels - this.#first);
  }

  #pageOf(channel) {
    return Math.floor(channel / this.#atOnce) * this.#atOnce;
  }

  get #atOnce() {
    return this.#shape.width < TINY.below ? TINY.atOnce : AT_ONCE;
  }

  #plan() {
    const { width } = this.#shape;
    const room = Math.max(120, this.node.clientWidth);
    const least = width < TINY.below ? TINY.wide : room < 500 ? 60 : WIDE;
    const wide = Math.max(width, least);
    this.#columns = evenColumns(this.#count, Math.floor(room / wide));
    const scale = room / (this.#columns * width);
    const most = Math.max(1, Math.floor((width < TINY.below ? 60 : 160) / width));
    const whole = Math.floor(scale * devicePixelRatio) / devicePixelRatio; // pixels of the screen, not of the page
    this.#scale = whole > 0 ? Math.min(whole, most) : scale;
  }

  async #draw() {
    const mine = this.#asked;
    this.#plan();
    this.#place();
    this.#tellColours();
    const query = `?columns=${this.#columns}&first=${this.#first}&count=${this.#count}`;
    this.#pageLinks();
    const address = api.maps(this.#image, this.#layer, `.png${query}`);
    this.#keep.setFile(address);
    this.#keep.setCommand(this.#shape.command);
    await this.#picture.change(address).catch(() => {});
    if (mine !== this.#asked) return;
    this.#place();
    this.#mark();
    this.#leave();
    this.#board.dataset.layer = this.#layer;
  }

  /** What the colours mean: each map has a scale of its own. */
  #tellColours() {
    const { signed, height, width } = this.#shape;
    const ends = height * width === 1 ? ["", "the highest of all"] : ["", "each map's highest"];
    if (signed) ends[0] = "as far below zero";
    const bar = element("i", { class: signed ? "signed-scale" : "scale", "aria-hidden": true });
    this.#legend.replaceChildren(ends[0] || "0", bar, ends[1]);
    this.#legend.hidden = false;
  }

  /** Lay the sheet out in whole screen pixels for each value. */
  #place() {
    const { width, height } = this.#shape;
    const rows = Math.ceil(this.#count / this.#columns);
    const [wide, high] = [width * this.#scale, height * this.#scale];
    this.#board.style.width = `${this.#columns * wide}px`;
    this.#board.style.height = `${rows * high}px`;
    this.#lines.style.backgroundSize = `${wide}px ${high}px`;
  }

  #resize() {
    if (!this.#shape) return;
    const before = `${this.#columns} ${this.#scale}`;
    this.#plan();
    if (before !== `${this.#columns} ${this.#scale}`) this.#draw();
  }

  #pageLinks() {
    const { channels } = this.#shape;
    const pages = Math.ceil(channels / this.#atOnce);
    const button = (place) => {
      const first = place * this.#atOnce;
      const words = `${first}–${Math.min(channels, first + this.#atOnce) - 1}`;
      const turn = () => {
        this.#first = first;
        this.#draw();
      };
      return element("button", { type: "button", "aria-pressed": first === this.#first ? "true" : "false", onclick: turn }, words);
    };
    this.pages.replaceChildren(...(pages > 1 ? Array.from({ length: pages }, (_, place) => button(place)) : []));
  }

  /** The unit under a pointer, or null beside the maps. */
  #unitAt({ clientX, clientY }) {
    if (!this.#shape) return null;
    const { left, top } = this.#board.getBoundingClientRect();
    const { width, height } = this.#shape;
    const column = Math.floor((clientX - left) / this.#scale);
    const line = Math.floor((clientY - top) / this.#scale);
    return this.#unitOf(column, line, width, height);
  }

  #unitOf(column, line, width, height) {
    const across = Math.floor(column / width);
    const place = Math.floor(line / height) * this.#columns + across;
    if (column < 0 || line < 0 || across >= this.#columns || place >= this.#count) return null;
    return { channel: this.#first + place, y: line % height, x: column % width };
  }

  #corner({ channel, y, x }) {
    const place = channel - this.#first;
    const { width, height } = this.#shape;
    return [(place % this.#columns) * width + (x ?? 0), Math.floor(place / this.#columns) * height + (y ?? 0)];
  }

  #click(event) {
    const unit = this.#unitAt(event);
    if (unit) this.#choose(unit);
  }

  #choose(unit) {
    this.#selected = unit;
    this.#mark();
    this.#hear.choose(unit);
  }

  #hover(event) {
    const unit = this.#unitAt(event);
    if (!unit) {
      this.#leave();
      return;
    }
    const { width, height } = this.#shape;
    this.#outline(this.#hovered, this.#corner(unit), 1, 1);
    this.#outline(this.#tile, this.#corner({ channel: unit.channel }), width, height);
    say(this.#words, `channel ${unit.channel}, y ${unit.y}, x ${unit.x}`);
  }

  #leave() {
    this.#tile.hidden = this.#hovered.hidden = true;
    if (!this.#shape) return;
    const { channels, height, width } = this.#shape;
    say(this.#words, `${many(channels, "map")} of ${height} × ${width}; a cell is one unit's value`);
  }

  #press(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (!this.#shape || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Enter" && this.#selected) {
      event.preventDefault();
      this.#hear.open(this.#selected);
    }
    if (!(event.key in steps)) return;
    event.preventDefault();
    const [across, down] = steps[event.key];
    const { width, height } = this.#shape;
    const here = this.#selected && this.#pageOf(this.#selected.channel) === this.#first ? this.#corner(this.#selected) : [-across, -down];
    const unit = this.#unitOf(here[0] + across, here[1] + down, width, height);
    if (unit) this.#choose(unit);
  }

  #mark() {
    const unit = this.#selected;
    const seen = unit && this.#shape && this.#pageOf(unit.channel) === this.#first;
    this.#cell.hidden = !seen;
    if (!seen) return;
    const { width, height } = this.#shape;
    if (unit.y == null) this.#outline(this.#cell, this.#corner(unit), width, height);
    else this.#outline(this.#cell, this.#corner(unit), 1, 1);
  }

  #outline(mark, [x, y], width, height) {
    mark.hidden = false;
    mark.style.left = `${x * this.#scale}px`;
    mark.style.top = `${y * this.#scale}px`;
    mark.style.width = `${width * this.#scale}px`;
    mark.style.height = `${height * this.#scale}px`;
  }
}
