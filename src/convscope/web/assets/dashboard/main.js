// The dashboard: joins the parts. What the server tells goes into the stores, and from the stores to what is drawn.
import { Cards } from "./cards.js";
import { Charts } from "./charts.js";
import { connect } from "./connection.js";
import { find, say, sayOrHide } from "../shared/dom.js";
import { reach } from "./figures.js";
import { FilmStore } from "./film_store.js";
import { Player, saidStep } from "./player.js";
import { RunList } from "./run_list.js";
import { placeRuns, styleOf } from "./run_styles.js";
import { Runs } from "./runs.js";
import { evaluatedBefore, locate, SeriesStore, stepAt } from "./series.js";
import { ask } from "../shared/server.js";
import { openSettings } from "./settings.js";
import { listenToKeys } from "./shortcuts.js";
import { SPANS } from "./smoothing.js";
import { look, startTheme } from "../shared/theme.js";
import { startTools } from "./tools.js";
import { clock, percent } from "../shared/words.js";

const settings = openSettings();
const runs = new Runs(settings);
const series = new SeriesStore(() => drawInTime());
const films = new FilmStore(() => drawInTime());
const cards = new Cards(films, settings);
const list = new RunList(runs, (id, step) => {
  if (!runs.chosenIds().includes(id)) runs.choose(id, true);
  player.goTo(step);
});
const charts = new Charts(find("chart-grid"), {
  onZoom: (zoom) => settings.set({ zoom }),
  onPick: (place) => {
    const { axis } = settings.get();
    const steps = runs.chosen().map(({ id }) => stepAt(series.get(id).series, place, axis));
    const step = steps.find((each) => each != null);
    if (step != null) player.goTo(step);
  },
});
const player = new Player({
  show: (step) => settings.set({ step }),
  prepare: (step) => cards.prepare(runs.chosen(), step),
  describe: (step) => saidStep(step, epochAt(step)),
});
const tools = startTools(settings, { zoomBy, showAll: () => charts.reset() });

const PAUSE = 600; // milliseconds between two drawings of what the server tells: a training beside it needs the rest
const GATHER = 50; // from the first message to the drawing: points and the list of runs come together

let drawing = 0;
let drawn = -Infinity;
let colours = look();
let shownCharts = "";
let shownCards = "";

function drawSoon() {
  clearTimeout(drawing);
  drawing = setTimeout(draw, 0);
}

/** Draws what the server told: soon after the last drawing it waits, and all of it is drawn at once. */
function drawInTime() {
  drawing ||= setTimeout(draw, Math.max(GATHER, drawn + PAUSE - performance.now()));
}

function draw() {
  drawing = 0;
  drawn = performance.now();
  const chosen = runs.chosen();
  document.title = title(chosen);
  if (document.hidden) return; // it is drawn when it is looked at again
  const { axis, zoom, step } = settings.get();
  list.draw();
  find("empty").hidden = !runs.heard || runs.listed().length > 0;
  find("none-chosen").hidden = !runs.heard || !runs.listed().length || chosen.length > 0;
  find("board").hidden = find("player").hidden = !chosen.length;
  say(find("folder"), runs.folder);
  if (!chosen.length) return;
  series.want(chosen, { axis, zoom });
  films.want(chosen);
  player.update(knownSteps(chosen), step);
  tools.draw();
  drawCharts(chosen);
  drawCards(chosen);
}

/** Draws the curves where anything that they show has changed. */
function drawCharts(chosen) {
  const { axis, shown, smooth, log, zoom } = settings.get();
  const scene = {
    ...{ axis, shown, log, zoom, span: SPANS[smooth], look: colours, cursors: cursors(chosen) },
    runs: chosen.map(({ id, name, status, steps, epochs, phases }) => ({
      ...{ id, name, status, planned: { step: steps, epoch: epochs }, phases, style: styleOf(id) },
      series: series.get(id).series,
    })),
  };
  const brief = (s) => s && [s.generation, s.position, s.train.step[0], s.train.step.length];
  const told = scene.runs.map((run) => ({ ...run, series: brief(run.series) }));
  const key = JSON.stringify({ ...scene, cursors: null, runs: told });
  if (key !== shownCharts) charts.draw(scene);
  else charts.moveCursors(scene.cursors);
  shownCharts = key;
  const troubleOf = ({ id, message }) => series.get(id).error?.message ?? message;
  const troubles = chosen.map((run) => ({ name: run.name, trouble: troubleOf(run) }));
  const words = troubles.filter(({ trouble }) => trouble).map(({ name, trouble }) => `${name}: ${trouble}`);
  sayOrHide(find("hint"), words.join("  "));
}

/** Shows the film's frame of the moment where it is another than before. */
function drawCards(chosen) {
  const { layer, probe, step: asked } = settings.get();
  const { step } = player;
  const evaluated = (id) => evaluatedBefore(series.get(id), asked ?? Infinity);
  const known = chosen.map(({ id, status, has_film, name }) => {
    const { film, error } = films.get(id);
    const frame = films.frameAt(id, step);
    return [id, status, has_film, name, evaluated(id), styleOf(id), frame, film?.scale, error?.message];
  });
  const key = JSON.stringify([known, step, layer, probe]);
  if (key === shownCards) return;
  shownCards = key;
  cards.show(chosen, step, { colourOf: (id) => styleOf(id).colour, evaluatedBefore: evaluated });
}

/** The steps that the slider knows: those of the films, or of the evaluations where there is no film. */
function knownSteps(chosen) {
  const ids = chosen.map(({ id }) => id);
  const filmed = films.steps(ids);
  if (filmed.length) return filmed;
  const evaluated = ids.flatMap((id) => series.get(id).series?.eval.step ?? []);
  return [...new Set(evaluated)].sort((one, other) => one - other);
}

function cursors(chosen) {
  const { step } = player;
  const { axis } = settings.get();
  return chosen.map(({ id }) => (step == null ? null : locate(series.get(id).series, step, axis)));
}

function epochAt(step) {
  const known = runs.chosen().map(({ id }) => films.frameAt(id, step)).find((frame) => frame?.step === step);
  return known?.epoch ?? null;
}

/** Zooms around the film's step, or towards the newest points while the page is live. */
function zoomBy(factor) {
  const { axis, zoom, step } = settings.get();
  const end = Math.max(0, ...runs.chosen().map(({ id }) => reach(series.get(id).series, axis)));
  const [from, to] = zoom ?? [0, end];
  const place = step == null ? to : (cursors(runs.chosen()).find((each) => each != null) ?? to);
  const anchor = Math.min(Math.max(place, from), to);
  const range = [Math.max(0, anchor - (anchor - from) * factor), Math.min(end, anchor + (to - anchor) * factor)];
  settings.set({ zoom: range[1] - range[0] >= end || range[1] <= range[0] ? null : range });
}

function title(chosen) {
  const running = [...chosen, ...runs.list].find(({ status }) => status === "running");
  return running?.steps ? `${percent(running.step / running.steps, 0)} · ${running.name} · convscope` : "convscope";
}

settings.listen((changed) => {
  if (changed.length !== 1 || changed[0] !== "step") {
    drawSoon();
    return;
  }
  const chosen = runs.chosen(); // the slider moves: the curves stay as they are
  if (settings.get().step == null) player.update(knownSteps(chosen), null);
  charts.moveCursors(cursors(chosen));
  drawCards(chosen);
});

startTheme(find("theme"), () => {
  colours = look();
  drawSoon();
});
addEventListener("visibilitychange", drawSoon);
listenToKeys({ player, settings, zoomBy, showAll: () => charts.reset() });

connect({
  runs(told) {
    placeRuns(told.runs);
    runs.receive(told);
    sayOrHide(find("trouble"), "");
    drawInTime();
  },
  points: (points) => series.receive(points),
  frame: ({ run }) => runs.chosenIds().includes(run) && films.grow(run),
  state({ connected, since, anew }) {
    const place = find("connection");
    place.dataset.connected = connected;
    say(place, connected ? "live" : `not connected since ${clock(new Date(since))}`);
    if (!connected) return;
    series.reload({ onlyFailed: !anew });
    films.retry();
  },
});

ask("/api/runs").then(
  (told) => {
    if (runs.heard) return;
    placeRuns(told.runs);
    runs.receive(told);
    drawSoon();
  },
  (error) => {
    const refusal = "The server does not know this page: open the address that convscope watch printed.";
    sayOrHide(find("trouble"), error.status === 403 ? refusal : error.message);
  },
);
