// The charts on the page: drawn no more often than they can be, zoomed together, exported one by one.
import { element, say } from "../shared/dom.js";
import { exportChart } from "./export.js";
import { axisUnit, CHARTS, drawFigure } from "./figures.js";
import { drawOn, noteDrawn, takeAway } from "./growth.js";
import { cursors as drawCursors } from "./marks.js";
import { loadPlotly } from "./plotly_loader.js";

const REST = 20; // times as long as a drawing took until the next, so that a training beside it is left alone,
const [SHORTEST, LONGEST] = [150, 700]; // but so many milliseconds: what is new shows within a second

export class Charts {
  #charts;
  #plotly = null;
  #scene = null;
  #yRanges = {}; // by chart, as plotly counts: what was zoomed to
  #timer = 0;
  #began = -Infinity;
  #pause = SHORTEST;
  #onZoom;
  #onPick;

  /** onZoom(range or null) is called where someone zooms, onPick(place on the axis) where someone clicks. */
  constructor(grid, { onZoom, onPick }) {
    this.#onZoom = onZoom;
    this.#onPick = onPick;
    this.#charts = CHARTS.map((chart) => makePlace(chart, (format) => this.#export(chart, format)));
    grid.append(...this.#charts.map(({ root }) => root));
    const note = (entries) => {
      for (const { target, isIntersecting } of entries) {
        const place = this.#charts.find(({ plot }) => plot === target);
        place.seen = isIntersecting;
        if (isIntersecting && place.stale) this.#schedule();
      }
    };
    const seen = new IntersectionObserver(note, { rootMargin: "200px" });
    const resized = new ResizeObserver((entries) => {
      for (const { target } of entries) {
        if (!target.layout || !target.offsetParent) continue; // plotly refuses to resize what is hidden
        this.#drawWhole(this.#charts.find(({ plot }) => plot === target));
        this.#plotly.Plots.resize(target);
      }
    });
    for (const place of this.#charts) {
      seen.observe(place.plot);
      resized.observe(place.plot);
      place.plot.addEventListener("pointerenter", () => {
        place.pointed = true; // plotly reads values out only from what it drew itself
        if (place.grown) this.#drawWhole(place);
      });
      place.plot.addEventListener("pointerleave", () => (place.pointed = false));
    }
    loadPlotly().then(
      (plotly) => {
        this.#plotly = plotly;
        this.#schedule();
      },
      (error) => this.#charts.forEach(({ plot }) => say(plot, error.message)),
    );
  }

  /** Draws the scene, soon. */
  draw(scene) {
    if (this.#scene && (scene.axis !== this.#scene.axis || scene.log !== this.#scene.log)) this.#yRanges = {};
    this.#scene = scene;
    for (const place of this.#charts) place.stale = true;
    this.#schedule();
  }

  /** Moves the film's line in every chart, at once. */
  moveCursors(cursors) {
    if (!this.#scene) return;
    this.#scene.cursors = cursors;
    for (const place of this.#charts) {
      if (place.stale || !place.ready || place.cursors.length !== cursors.length) continue;
      if (place.seen) this.#moveCursorsOf(place);
      else place.stale = true;
    }
  }

  /** Changes of the film's lines what is another than before: the less, the quicker plotly is. */
  #moveCursorsOf(place) {
    const wanted = drawCursors(this.#scene, axisUnit(this.#scene.axis, this.#scene.runs));
    const changes = {};
    wanted.forEach((line, index) => {
      const { x0, visible, line: look } = place.cursors[index];
      if (line.x0 !== x0) changes[`shapes[${index}].x0`] = changes[`shapes[${index}].x1`] = line.x0;
      if (line.visible !== visible) changes[`shapes[${index}].visible`] = line.visible;
      if (line.line.color !== look.color) changes[`shapes[${index}].line.color`] = line.line.color;
    });
    place.cursors = wanted;
    return Object.keys(changes).length ? this.#plotly.relayout(place.plot, changes) : null;
  }

  #drawWhole(place) {
    place.drawn = null;
    place.stale = true;
    this.#schedule();
  }

  #schedule() {
    if (!this.#plotly || this.#timer) return;
    const inFrame = () => requestAnimationFrame(() => this.#drawStale()); // never in a hidden tab
    const wait = this.#began + this.#pause - performance.now();
    this.#timer = wait > 0 ? setTimeout(inFrame, wait) : inFrame(); // at once: one frame with the rest of the page
  }

  async #drawStale() {
    this.#timer = 0;
    if (!this.#scene) return;
    this.#began = performance.now();
    for (const place of this.#charts) {
      if (!place.stale || !place.seen) continue;
      place.stale = false;
      await this.#drawChart(place);
    }
    this.#pause = Math.min(Math.max(SHORTEST, REST * (performance.now() - this.#began)), LONGEST);
    if (this.#charts.some(({ stale, seen }) => stale && seen)) this.#schedule();
  }

  async #drawChart(place) {
    const { runs } = this.#scene;
    const figure = drawFigure(place.chart, { ...this.#scene, yRange: this.#yRanges[place.chart.name] });
    place.grown = !place.pointed && drawOn(place.plot, place.drawn, figure, runs);
    place.drawn = noteDrawn(figure, runs);
    if (place.grown) {
      await this.#moveCursorsOf(place);
      return;
    }
    place.cursors = figure.layout.shapes.slice(0, runs.length);
    if (!place.ready) place.plot.replaceChildren();
    const config = { displayModeBar: false, doubleClick: false, doubleClickDelay: 500, showTips: false };
    const layout = { ...figure.layout, datarevision: (place.revision += 1) }; // columns grow without being others
    takeAway(place.plot);
    await this.#plotly.react(place.plot, figure.data, layout, config);
    if (!place.ready) this.#listen(place);
  }

  #listen(place) {
    const { plot, chart } = place;
    place.ready = true;
    plot.classList.remove("waiting");
    plot.on("plotly_relayout", (changes) => {
      if (!("xaxis.range[0]" in changes || "yaxis.range[0]" in changes)) return; // not a person's zoom
      const range = (axis, size = 1) => [0, 1].map((end) => changes[`${axis}.range[${end}]`] * size);
      if ("yaxis.range[0]" in changes) this.#yRanges[chart.name] = range("yaxis");
      if (!("xaxis.range[0]" in changes)) return;
      this.#onZoom(range("xaxis", axisUnit(this.#scene.axis, this.#scene.runs).size));
    });
    plot.on("plotly_doubleclick", () => this.reset());
    plot.on("plotly_click", ({ points }) => {
      const { size } = axisUnit(this.#scene.axis, this.#scene.runs);
      if (points.length) this.#onPick(points[0].x * size);
    });
  }

  /** Shows everything again. */
  reset() {
    this.#yRanges = {};
    this.#onZoom(null);
  }

  #export(chart, format) {
    if (this.#scene) exportChart(this.#plotly, chart, this.#scene, format);
  }
}

function makePlace(chart, save) {
  const plot = element("div", { class: "plot waiting", id: `plot-${chart.name}` }, "Loading the charts …");
  const formats = ["PNG", "SVG"].map((name) => {
    const label = `Save ${chart.title.toLowerCase()} as ${name}`;
    const onclick = () => save(name.toLowerCase());
    return element("button", { type: "button", class: "quiet", title: label, "aria-label": label, onclick }, name);
  });
  const caption = element("figcaption", {}, element("h2", {}, chart.title), ...formats);
  const root = element("figure", { class: chart.low ? "chart low" : "chart" }, caption, plot);
  const flags = { seen: false, stale: false, ready: false, pointed: false, grown: false };
  return { root, plot, chart, ...flags, drawn: null, revision: 0, cursors: [] };
}
