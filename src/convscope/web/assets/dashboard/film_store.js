// The films of the chosen runs: which steps were recorded, and what is known of each.
import { ask, askBytes } from "../shared/server.js";
import { addressOf } from "./addresses.js";

const KEPT = 600; // pictures and summaries held at a time
const PAUSE = 10_000; // milliseconds between two looks at a film that grows: its first frames lie close together

export class FilmStore {
  #films = new Map(); // by run: {film, error}
  #answers = new Map(); // by address: a promise of what the server said; the oldest first
  #changed;

  constructor(changed) {
    this.#changed = changed;
  }

  /** Holds the films of these runs. */
  want(runs) {
    const ids = runs.map(({ id }) => id);
    for (const id of this.#films.keys()) if (!ids.includes(id)) this.#films.delete(id);
    for (const { id, has_film: filmed } of runs) {
      const known = this.#films.get(id);
      if (!filmed) this.#films.set(id, { film: null, error: null });
      else if (!known || (!known.film && !known.loading && !known.error)) this.refresh(id);
    }
  }

  /** {film, error} of a run; both null while it is fetched, or where it has none. */
  get(id) {
    return this.#films.get(id) ?? { film: null, error: null };
  }

  /** Asks again which frames a run has, for there is a new one: at once, or when the last time is long enough ago. */
  grow(id) {
    const entry = this.#films.get(id);
    if (!entry?.film) {
      this.refresh(id);
      return;
    }
    const again = () => this.#films.get(id) === entry && this.refresh(id);
    entry.timer ||= setTimeout(again, entry.last + PAUSE - performance.now());
  }

  /** Asks again which frames a run has. */
  async refresh(id) {
    const entry = this.#films.get(id) ?? { film: null, error: null };
    this.#films.set(id, entry);
    clearTimeout(entry.timer);
    entry.timer = 0;
    entry.last = performance.now();
    if (entry.loading) {
      entry.again = true;
      return;
    }
    entry.loading = true;
    entry.again = false;
    try {
      entry.film = await ask(addressOf(id, "film"));
      entry.error = null;
    } catch (error) {
      entry.error = error;
    }
    entry.loading = false;
    if (entry.again) this.refresh(id);
    this.#changed();
  }

  /** Asks again for what failed. */
  retry() {
    for (const [id, { error }] of this.#films) if (error) this.refresh(id);
  }

  /** The steps at which any of these runs has a frame, in order. */
  steps(ids) {
    const all = ids.flatMap((id) => this.get(id).film?.frames.map(({ step }) => step) ?? []);
    return [...new Set(all)].sort((one, other) => one - other);
  }

  /** A run's newest frame at a step or before it; null where there is none. */
  frameAt(id, step) {
    return this.get(id).film?.frames.findLast((frame) => frame.step <= step) ?? null;
  }

  /** Promises {summary, filters, maps} of a frame: an object, and the addresses of two pictures in this page. */
  look(id, step, layer, probe) {
    const { scale } = this.get(id).film; // names the film as it is now: another after a resumption
    return {
      summary: this.#once(addressOf(id, `film/${step}`, { scale }), ask),
      filters: this.#once(addressOf(id, `film/${step}/filters.png`, { scale }), picture),
      maps: layer ? this.#once(addressOf(id, `film/${step}/maps.png`, { layer, probe, scale }), picture) : null,
    };
  }

  probe(id, number) {
    return this.#once(addressOf(id, `probes/${number}.png`), picture);
  }

  /** {step, matrix} of the newest evaluation at a step or before, whose step is `evaluated`; null where none is. */
  async confusion(id, step, evaluated) {
    try {
      const found = await this.#once(addressOf(id, "confusion", { step: evaluated ?? step }), ask);
      return found.matrix ? found : null;
    } catch {
      return null;
    }
  }

  #once(address, get) {
    let answer = this.#answers.get(address);
    if (answer) this.#answers.delete(address);
    else {
      answer = get(address);
      answer.catch(() => this.#answers.delete(address)); // the next who asks tries again
    }
    this.#answers.set(address, answer);
    if (this.#answers.size > KEPT) {
      const [oldest, dropped] = this.#answers.entries().next().value;
      this.#answers.delete(oldest);
      dropped.then((said) => typeof said === "string" && URL.revokeObjectURL(said)).catch(() => {});
    }
    return answer;
  }
}

/** A picture that is ready to be shown without a flicker. */
async function picture(address) {
  const source = URL.createObjectURL(await askBytes(address));
  const image = new Image();
  image.src = source;
  await image.decode();
  return source;
}
