// The film of every chosen run, side by side, and the choice of layer and probe image.
import { Card } from "./card.js";
import { arrange, element, find, sayOrHide } from "../shared/dom.js";
import { smallPercent } from "../shared/words.js";

export class Cards {
  #cards = new Map();
  #store;
  #settings;
  #probesOf = "";

  constructor(store, settings) {
    this.#store = store;
    this.#settings = settings;
    find("layer").addEventListener("change", ({ target }) => settings.set({ layer: target.value }));
    find("probes").addEventListener("change", ({ target }) => settings.set({ probe: Number(target.value) }));
  }

  /** Shows the chosen runs at a step; a promise of when all of it is there. */
  show(runs, step, { colourOf, evaluatedBefore }) {
    this.#offerLayers(runs);
    this.#offerProbes(runs);
    this.#sayCost(runs);
    const { layer, probe } = this.#settings.get();
    for (const id of this.#cards.keys()) if (!runs.some((run) => run.id === id)) this.#cards.delete(id);
    const shown = runs.map((run) => {
      if (!this.#cards.has(run.id)) this.#cards.set(run.id, new Card(this.#store));
      const evaluated = evaluatedBefore(run.id);
      return this.#cards.get(run.id).show(run, { colour: colourOf(run.id), step, layer, probe, evaluated });
    });
    const place = find("cards");
    place.classList.toggle("alone", runs.length === 1);
    arrange(place, runs.map(({ id }) => this.#cards.get(id).root));
    return Promise.allSettled(shown);
  }

  /** A promise of when the pictures of a step are here, so that they can be shown without waiting. */
  prepare(runs, step) {
    const { layer, probe } = this.#settings.get();
    const coming = runs.flatMap(({ id }) => {
      const frame = this.#store.frameAt(id, step);
      if (!frame) return [];
      const { film } = this.#store.get(id);
      const shown = film.map_layers.includes(layer) ? layer : film.map_layers[0];
      return Object.values(this.#store.look(id, frame.step, shown, Math.min(probe, film.probes.length - 1)));
    });
    return Promise.allSettled(coming);
  }

  #offerLayers(runs) {
    const names = [...new Set(runs.flatMap(({ id }) => this.#store.get(id).film?.map_layers ?? []))];
    const select = find("layer");
    find("layer-choice").hidden = !names.length;
    if (names.join() !== [...select.options].map(({ value }) => value).join()) {
      select.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
    }
    const { layer } = this.#settings.get();
    select.value = names.includes(layer) ? layer : (names[0] ?? "");
  }

  #offerProbes(runs) {
    const run = runs.find(({ id }) => this.#store.get(id).film?.probes.length);
    const probes = run ? this.#store.get(run.id).film.probes : [];
    const place = find("probes");
    place.hidden = !probes.length;
    const offered = JSON.stringify([run?.id, probes]);
    if (offered !== this.#probesOf) {
      this.#probesOf = offered;
      place.querySelectorAll("label").forEach((label) => label.remove());
      place.append(...probes.map((probe, number) => this.#probeChoice(run, probe, number)));
    }
    const chosen = Math.min(this.#settings.get().probe, probes.length - 1);
    place.querySelectorAll("input").forEach((input, number) => (input.checked = number === chosen));
  }

  #probeChoice(run, { index, label }, number) {
    const name = `test image ${index}: ${run.class_names?.[label] ?? label}`;
    const image = element("img", { alt: name, title: name });
    const show = (source) => (image.src = source);
    this.#store.probe(run.id, number).then(show, () => image.replaceWith(name));
    const button = element("input", { type: "radio", name: "probe", value: number });
    return element("label", { class: "probe-choice" }, button, image);
  }

  #sayCost(runs) {
    const costs = runs
      .map(({ id, name }) => ({ name, share: this.#store.get(id).film?.share }))
      .filter(({ share }) => share != null);
    const said = costs.map(({ name, share }) => `${smallPercent(share)}${runs.length > 1 ? ` (${name})` : ""}`);
    sayOrHide(find("film-cost"), said.length ? `Film: ${said.join(", ")} of the training time.` : "");
  }
}
