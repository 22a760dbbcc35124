// The points of the chosen runs: fetched thinned, then grown by what the stream tells, without gaps or doubles.
import { ask } from "../shared/server.js";
import { addressOf } from "./addresses.js";

const POINTS = 1500; // asked for at a time
const MARGIN = 0.25; // how far beyond a zoom to look, as a share of it, so that a small move shows curves at once
const PAUSE = 400; // milliseconds between two requests for the same run

/** One entry a run: {series, error, …}; `changed` is called whenever there is something new to draw. */
export class SeriesStore {
  #entries = new Map();
  #view = { axis: "step", zoom: null };
  #changed;

  constructor(changed) {
    this.#changed = changed;
  }

  /** {series, error, partial}; a log that was emptied, to be deleted or begun anew, is drawn until it grows again. */
  get(id) {
    const { series = null, before = null, error = null, partial = false } = this.#entries.get(id) ?? {};
    return { series: rows(series) ? series : (before ?? series), error, partial };
  }

  /** Holds the series of these runs, on this axis and in this stretch of it; of deleted ones what is known stays. */
  want(runs, view) {
    const moved = JSON.stringify(view) !== JSON.stringify(this.#view);
    const ids = runs.map(({ id }) => id);
    this.#view = view;
    for (const id of this.#entries.keys()) if (!ids.includes(id)) this.#entries.delete(id);
    for (const { id, status } of runs) {
      const entry = this.#entries.get(id);
      if (!entry) this.#entries.set(id, { series: null, error: null, loading: false, queue: [], last: 0 });
      if (status !== "deleted" && (!entry || (moved && (thinned(entry) || entry.partial)))) this.#load(id);
    }
  }

  /** Takes in what the stream says of a run: rows from byte `start` of its log to byte `end`. */
  receive(points) {
    const entry = this.#entries.get(points.run);
    if (!entry) return;
    if (entry.loading) entry.queue.push(points);
    else if (entry.series) this.#apply(points.run, entry, points);
  }

  /** Asks anew for every run, or for those that could not be had. */
  reload({ onlyFailed = false } = {}) {
    for (const [id, entry] of this.#entries) if (!onlyFailed || entry.error) this.#load(id);
  }

  #apply(id, entry, points) {
    const { series } = entry;
    if (points.generation !== series.generation || points.start > series.position) {
      this.#load(id); // the log was cut, or something was missed
      return;
    }
    if (points.end <= series.position) return;
    for (const table of ["train", "eval"]) append(series[table], points[table]);
    series.position = points.end;
    if (series.train.step.length > Math.max(2 * entry.fetched, 2 * POINTS)) this.#load(id);
    this.#changed();
  }

  async #load(id) {
    const entry = this.#entries.get(id);
    if (entry.loading) {
      entry.again = true;
      return;
    }
    entry.loading = true;
    entry.again = false;
    const wait = entry.last + PAUSE - performance.now();
    if (wait > 0) await new Promise((done) => setTimeout(done, wait));
    const { axis, zoom } = this.#view;
    try {
      const [from, to] = zoom ? widened(zoom) : [null, null];
      const series = await ask(addressOf(id, "series", { points: POINTS, axis, from, to }));
      if (rows(entry.series)) entry.before = entry.series;
      if (rows(series)) entry.before = null;
      entry.series = series;
      entry.fetched = series.train.step.length;
      entry.partial = zoom != null && thinned(entry);
      entry.error = null;
    } catch (error) {
      entry.error = error;
    }
    entry.loading = false;
    entry.last = performance.now();
    if (this.#entries.get(id) !== entry) return;
    const queue = entry.queue.splice(0);
    if (entry.again) this.#load(id);
    else if (entry.series) for (const points of queue) this.receive(points);
    this.#changed();
  }
}

const rows = (series) => (series ? series.train.step.length + series.eval.step.length : 0);

/** Whether the server left rows out. */
function thinned({ series }) {
  return !series || series.train.step.length < series.total;
}

/** Adds the rows that come after the last one: those before it are known already. */
function append(table, rows) {
  if (!rows) return;
  const last = table.step.at(-1) ?? -1;
  const first = rows.step.findIndex((step) => step > last);
  if (first < 0) return;
  for (const [column, values] of Object.entries(rows)) table[column]?.push(...values.slice(first));
}

function widened([from, to]) {
  const more = MARGIN * (to - from);
  return [from - more, to + more];
}

/** Where the training stood on an axis after `step` steps, between the rows that are known; null where none are. */
export function locate(series, step, axis) {
  if (axis === "step") return step;
  const { train } = series ?? {};
  if (!train?.step.length) return null;
  const after = train.step.findIndex((each) => each >= step);
  const place = after < 0 ? train.step.length - 1 : after;
  const [fromStep, from] = place ? [train.step[place - 1], train[axis][place - 1]] : [0, 0];
  const share = (step - fromStep) / Math.max(train.step[place] - fromStep, 1);
  return from + Math.min(share, 1) * (train[axis][place] - from);
}

/** The step that was nearest to a place on an axis; null where nothing is known. */
export function stepAt(series, place, axis) {
  const { train } = series ?? {};
  if (axis === "step" || !train?.step.length) return axis === "step" ? place : null;
  const after = train[axis].findIndex((each) => each >= place);
  return train.step[after < 0 ? train.step.length - 1 : after];
}

/** The step of the newest evaluation at a step or before: null where there is none, undefined where nobody knows. */
export function evaluatedBefore({ series, partial }, step) {
  if (!series) return null;
  return partial ? undefined : (series.eval.step.findLast((each) => each <= step) ?? null);
}
