// The runs of the folder, and which of them are chosen.

/** What a run's state is called, and what that means. */
export const STATUS = {
  running: ["running", "A training holds it now."],
  finished: ["finished", "It came to its end."],
  interrupted: ["interrupted", "It was stopped by hand; go on with: convscope resume"],
  failed: ["failed", "It ended with an error."],
  stopped: ["stopped", "It has not finished, and no training holds it; go on with: convscope resume"],
  damaged: ["damaged", "Its files cannot be read."],
  deleted: ["deleted", "Its folder is gone."],
};

export class Runs {
  list = [];
  folder = "";
  heard = false; // whether the server said anything yet
  #gone = new Map(); // runs that were here, and are no more
  #settings;

  constructor(settings) {
    this.#settings = settings;
  }

  receive({ folder, runs }) {
    const here = new Set(runs.map(({ id }) => id));
    const chosen = new Set(this.chosenIds());
    for (const run of this.list) {
      if (!here.has(run.id) && chosen.has(run.id)) this.#gone.set(run.id, lost(run));
    }
    for (const id of here) this.#gone.delete(id);
    const vanished = this.list.some(({ id }) => chosen.has(id) && !here.has(id));
    if (vanished && !this.#settings.get().runs) this.#settings.set({ runs: [...chosen] }); // so that it is told
    this.list = runs;
    this.folder = folder;
    this.heard = true;
  }

  /** The runs to list: those in the folder, newest first as the server tells them, then chosen ones that are gone. */
  listed() {
    return [...this.list, ...this.chosen().filter(({ status }) => status === "deleted")];
  }

  /** The ids of the chosen runs; where nobody chose yet, of the newest running one, or of the newest. */
  chosenIds() {
    const { runs } = this.#settings.get();
    if (runs) return runs;
    const sound = this.list.filter(({ status }) => status !== "damaged");
    const first = sound.find(({ status }) => status === "running") ?? sound[0];
    return first ? [first.id] : [];
  }

  /** The chosen runs, in the order of the list; one that is not there any more has the status "deleted". */
  chosen() {
    const ids = new Set(this.chosenIds());
    const here = this.list.filter(({ id }) => ids.has(id));
    if (!this.heard) return here;
    const known = new Set(here.map(({ id }) => id));
    const rest = [...ids].filter((id) => !known.has(id));
    return [...here, ...rest.map((id) => this.#gone.get(id) ?? lost({ id, name: id }))];
  }

  /** Chooses a run or drops it. Runs that are gone and dropped are forgotten. */
  choose(id, wanted) {
    const ids = this.chosenIds().filter((each) => each !== id);
    if (!wanted) this.#gone.delete(id);
    this.#settings.set({ runs: wanted ? [...ids, id] : ids, zoom: ids.length ? this.#settings.get().zoom : null });
  }
}

function lost(run) {
  const message = "its folder is gone, or it is in another folder than this one";
  const bare = { phases: [], alarms: [], figures: {}, class_names: [] };
  return { ...bare, ...run, status: "deleted", message, has_film: false };
}
