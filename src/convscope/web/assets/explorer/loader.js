// Asks for pictures in the order in which a person sees them: those on the screen first, a few at a time.

const PARALLEL = 3; // of the six connections that a browser opens to one address: the rest is for clicks
const AGAIN = 4000; // milliseconds until a picture that was not drawn yet is asked for again

/** Loads what is added as soon as it can be seen; `load` gives false where it has to be asked for again. */
export class Loader {
  #entries = new Map();
  #visible = new Set();
  #busy = 0;
  #closed = false;
  #timer = 0;
  #observer = new IntersectionObserver((changes) => this.#see(changes), { rootMargin: "120px" });

  /** Ask for the picture of this node, when it is seen; `key` names it for `again`. */
  add(node, load, key = null) {
    this.#entries.set(node, { load, key, state: "asked", since: 0 });
    this.#observer.observe(node);
  }

  remove(node) {
    this.#entries.delete(node);
    this.#visible.delete(node);
    this.#observer.unobserve(node);
  }

  /** Ask again for the pictures of that key: they are new. */
  again(key) {
    for (const entry of this.#entries.values()) {
      if (entry.key === key && entry.state !== "loading") entry.state = "asked";
    }
    this.#pump();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#observer.disconnect();
    this.#entries.clear();
    this.#visible.clear();
  }

  #see(changes) {
    for (const { target, isIntersecting } of changes) {
      if (isIntersecting) this.#visible.add(target);
      else this.#visible.delete(target);
    }
    this.#pump();
  }

  #next() {
    const wanted = [...this.#visible].filter((node) => this.#entries.get(node)?.state === "asked");
    return wanted.reduce((first, node) => (first && isBefore(first, node) ? first : node), null);
  }

  #pump() {
    while (!this.#closed && this.#busy < PARALLEL) {
      const node = this.#next();
      if (!node) return;
      const entry = this.#entries.get(node);
      entry.state = "loading";
      this.#busy += 1;
      entry
        .load()
        .then(
          (there) => (entry.state = there === false ? "waiting" : "there"),
          () => (entry.state = "failed"),
        )
        .finally(() => {
          this.#busy -= 1;
          if (entry.state === "waiting") this.#askAgainLater();
          this.#pump();
        });
    }
  }

  #askAgainLater() {
    if (this.#timer || this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      for (const entry of this.#entries.values()) if (entry.state === "waiting") entry.state = "asked";
      this.#pump();
    }, AGAIN);
  }
}

function isBefore(one, other) {
  return Boolean(one.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING);
}
