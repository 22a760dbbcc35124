// What one run looks like at one step: filters, maps, probabilities, confusion matrix, layers.
import { describeConfusion, drawConfusion } from "./confusion.js";
import { element, say, sayOrHide } from "../shared/dom.js";
import { Layers } from "./layers.js";
import { Probabilities } from "./probabilities.js";
import { look } from "../shared/theme.js";
import { thousands } from "../shared/words.js";
import { saidStep } from "./player.js";

export class Card {
  #store;
  #turn = 0; // which look is the newest, so that a slow answer does not overwrite it
  #name = element("h3", {});
  #when = element("p", { class: "note" });
  #note = element("p", { class: "note" });
  #filters = picturePlace("filters");
  #maps = picturePlace("maps");
  #probabilities = new Probabilities();
  #canvas = element("canvas", { role: "img" });
  #confused = element("p", { class: "note" });
  #matrixTitle = element("h4", {}, "Confusion matrix");
  #confusion = element("div", { class: "part confusion" }, this.#matrixTitle, this.#canvas, this.#confused);
  #layers = new Layers();
  #drawn = null; // {matrix, names, place}

  constructor(store) {
    this.#store = store;
    const head = element("header", {}, this.#name, this.#when);
    const parts = [this.#filters.root, this.#maps.root, this.#probabilities.root, this.#confusion, this.#layers.root];
    this.root = element("article", { class: "card" }, head, this.#note, element("div", { class: "parts" }, ...parts));
    this.#canvas.addEventListener("pointermove", (event) => this.#readCell(event));
    this.#canvas.addEventListener("pointerleave", () => this.#sayMatrix());
    new ResizeObserver(() => this.#drawMatrix()).observe(this.#confusion);
  }

  /** Shows a run at a step; `evaluated` is the step of the evaluation whose matrix holds there. */
  async show(run, { colour, step, layer, probe, evaluated }) {
    this.#turn += 1;
    const turn = this.#turn;
    const { film, error } = this.#store.get(run.id);
    const frame = this.#store.frameAt(run.id, step ?? Infinity);
    this.root.style.setProperty("--run", colour);
    say(this.#name, run.name);
    say(this.#when, frame ? saidStep(frame.step, frame.epoch) : "");
    sayOrHide(this.#note, reason(run, film, frame, error));
    const parts = [];
    if (frame) {
      const shown = film.map_layers.includes(layer) ? layer : film.map_layers[0];
      const seen = this.#store.look(run.id, frame.step, shown, Math.min(probe, film.probes.length - 1));
      const where = `${run.name}, ${saidStep(frame.step, frame.epoch)}`;
      const newest = () => turn === this.#turn;
      parts.push(this.#filters.show(seen.filters, `Filters of ${film.filter_layer}`, where, newest));
      parts.push(this.#maps.show(seen.maps, `Maps of ${shown}`, where, newest));
      parts.push(this.#showSummary(run, film, probe, seen.summary, turn));
    } else for (const part of [this.#filters, this.#maps, this.#probabilities, this.#layers]) part.root.hidden = true;
    parts.push(this.#showConfusion(run, step, evaluated, turn));
    await Promise.allSettled(parts);
  }

  async #showSummary(run, film, probe, coming, turn) {
    const number = Math.min(probe, film.probes.length - 1);
    const [said, image] = await Promise.allSettled([coming, this.#store.probe(run.id, number)]);
    if (turn !== this.#turn) return;
    const names = run.class_names ?? [];
    const { label, index } = film.probes[number] ?? {};
    this.#probabilities.show(said.value?.probabilities?.[number], { names, label, index, image: image.value });
    this.#layers.show(said.value?.layers ?? []);
  }

  async #showConfusion(run, step, evaluated, turn) {
    const wanted = step != null && run.status !== "deleted" && evaluated !== null;
    const said = wanted ? await this.#store.confusion(run.id, step, evaluated) : null;
    if (turn !== this.#turn) return;
    this.#confusion.hidden = !said?.matrix;
    if (!said?.matrix) return;
    say(this.#matrixTitle, `Test images after step ${thousands(said.step)}`);
    const names = said.matrix.map((_, place) => run.class_names?.[place] ?? String(place));
    this.#drawn = { matrix: said.matrix, names, place: null };
    this.#drawMatrix();
    this.#sayMatrix();
  }

  #drawMatrix() {
    if (!this.#drawn || this.#confusion.hidden || !this.#canvas.clientWidth) return;
    this.#drawn.place = drawConfusion(this.#canvas, this.#drawn.matrix, this.#drawn.names, look());
  }

  #sayMatrix() {
    if (!this.#drawn) return;
    const words = describeConfusion(this.#drawn.matrix, this.#drawn.names);
    this.#canvas.setAttribute("aria-label", `Confusion matrix, rows true, columns predicted: ${words}`);
    say(this.#confused, words);
  }

  #readCell({ offsetX, offsetY }) {
    const { matrix, names, place } = this.#drawn ?? {};
    if (!place) return;
    const truth = Math.floor((offsetY - place.above) / place.cell);
    const told = Math.floor((offsetX - place.left) / place.cell);
    const images = matrix[truth]?.[told];
    if (images == null) this.#sayMatrix();
    else {
      const verdict = truth === told ? "recognized" : `taken for ${names[told]}`;
      say(this.#confused, `${thousands(images)} × ${names[truth]} ${verdict}`);
    }
  }
}

/** Why there is no film to see; null where there is one. */
function reason(run, film, frame, error) {
  if (run.status === "deleted") return `This run is deleted: ${run.message}.`;
  if (frame) return error ? `Its film could not be read again: ${error.message}` : null;
  if (error) return `Its film cannot be shown: ${error.message}`;
  if (!run.has_film) return "This run has no film: it was trained without one, or by an older convscope.";
  return film ? "Its film begins at a later step." : "Its film is on its way …";
}

/** A picture with a heading, which keeps what it shows until the next is ready. */
function picturePlace(name) {
  const image = element("img", { alt: "" });
  const heading = element("h4", {});
  const root = element("div", { class: `part ${name}` }, heading, image);
  const show = async (coming, title, about, isNewest) => {
    const source = coming && (await coming.catch(() => null));
    if (!isNewest()) return;
    root.hidden = !source;
    if (!source) return;
    say(heading, title);
    image.alt = `${title}, ${about}`;
    image.src = source;
  };
  return { root, show };
}
