// A chart as plotly wants it: the curves of every chosen run, and the axes.
import { cursors, phaseMarks } from "./marks.js";
import { smooth } from "./smoothing.js";
import { plain } from "../shared/words.js";

/** The charts, and the column that each kind of curve takes. */
export const CHARTS = [
  {
    ...{ name: "loss", title: "Loss", train: "loss", test: "test_loss", fit: "train_loss" },
    ...{ log: true, format: ".4~g" },
  },
  {
    ...{ name: "accuracy", title: "Accuracy", train: "accuracy", test: "test_accuracy", fit: "train_accuracy" },
    ...{ ticks: ".0%", format: ".2%" },
  },
  {
    ...{ name: "learning-rate", title: "Learning rate", train: "learning_rate" },
    ...{ log: true, low: true, raw: true, zero: true, format: ".3~g" },
  },
  {
    ...{ name: "throughput", title: "Images a second", train: "images_per_second" },
    ...{ low: true, zero: true, ticks: ",d", format: ",.0f" },
  },
];

const FONT = 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
const KIND_NAMES = { train: "train", test: "test", fit: "train, evaluated" };
const HOVER = { step: "step %{x:,.0f}", epoch: "epoch %{x:.2f}" };
const FEW = 80; // evaluations that are drawn with a mark each
const AHEAD = 1.6; // how much longer an axis becomes when a run that goes on has filled it
const ROOM = 0.04; // above and below a curve, as a share of its height
const GRID = 20; // about so many places for a chart's edge, so that few points move it

/** Seconds, minutes or hours, by how long the longest run took. */
function timeUnit(seconds) {
  if (seconds > 3 * 3600) return { name: "hours", seconds: 3600 };
  return seconds > 300 ? { name: "minutes", seconds: 60 } : { name: "seconds", seconds: 1 };
}

/** How many of the axis' own units (steps, epochs, seconds) one unit on the chart is, and what it is called. */
export function axisUnit(axis, runs) {
  if (axis !== "time") return { name: axis, size: 1 };
  const unit = timeUnit(Math.max(0, ...runs.map(({ series }) => reach(series, "time"))));
  return { name: unit.name, size: unit.seconds };
}

/** How far a run came on an axis. */
export function reach(series, axis) {
  return Math.max(series?.train[axis].at(-1) ?? 0, series?.eval[axis].at(-1) ?? 0);
}

/** Where an axis ends: a little ahead of runs that go on, so that not every point of theirs makes it another. */
function horizon(runs, axis) {
  const goesOn = ({ status }) => status === "running";
  const end = Math.max(0, ...runs.map(({ series }) => reach(series, axis))) || 1;
  const going = Math.max(0, ...runs.filter(goesOn).map(({ series }) => reach(series, axis)));
  if (!going) return end;
  const ahead = AHEAD ** Math.ceil(Math.log(going) / Math.log(AHEAD) - 1e-9);
  const planned = Math.max(...runs.filter(goesOn).map((run) => run.planned[axis] ?? Infinity));
  return Math.max(end, planned < going ? ahead : Math.min(ahead, planned));
}

/** {data, layout} of a chart.
 *
 * The scene: runs [{id, name, style, status, planned (by axis), phases, series}], axis, span (steps that smoothing
 * looks back), shown, log,
 * zoom, yRange (null: what suits), cursors (one place a run on the axis, or null), look (the theme's colours).
 */
export function drawFigure(chart, scene) {
  const unit = axisUnit(scene.axis, scene.runs);
  const data = scene.runs.flatMap((run) => (run.series ? curves(chart, run, scene, unit) : []));
  const end = horizon(scene.runs, scene.axis);
  const range = (scene.zoom ?? [-0.012 * end, 1.012 * end]).map((edge) => edge / unit.size);
  const logged = scene.log && Boolean(chart.log);
  const height = scene.yRange ?? heightOf(data, range, { logged, zero: chart.zero });
  const marks = phaseMarks(scene, unit, range);
  return { data, layout: layout(chart, scene, { unit, logged, range, height, marks }) };
}

/** The range of what is to be seen, as plotly counts it; null of nothing. Its own would look beyond the zoom. */
function heightOf(data, [from, to], { logged, zero }) {
  let [low, high] = [Infinity, -Infinity];
  for (const { x, y } of data) {
    const first = Math.max(0, x.findIndex((place) => place >= from) - 1); // from which a line comes in
    for (let place = first; place < x.length && (place === first || x[place - 1] <= to); place += 1) {
      if (y[place] == null || (logged && y[place] <= 0)) continue;
      low = Math.min(low, y[place]);
      high = Math.max(high, y[place]);
    }
  }
  if (low > high) return null;
  if (logged) [low, high] = [Math.log10(low), Math.log10(high)];
  else if (zero) low = Math.min(low, 0);
  const span = high - low || Math.abs(high) || 1;
  const cell = 2 ** Math.ceil(Math.log2(span)) / GRID;
  const bottom = Math.floor((low - ROOM * span) / cell) * cell;
  return [zero && !logged && low === 0 ? 0 : bottom, Math.ceil((high + ROOM * span) / cell) * cell];
}

function curves(chart, run, scene, unit) {
  const kinds = chart.test ? scene.shown : ["train"];
  const several = scene.runs.length > 1;
  const line = (kind, table, values, look) => ({
    type: "scatter",
    mode: "lines",
    x: unit.size === 1 ? table[scene.axis] : table[scene.axis].map((place) => place / unit.size),
    y: values,
    name: plain([several && run.name, (chart.test || !several) && KIND_NAMES[kind]].filter(Boolean).join(", ")),
    ...look,
  });
  const { colour, mark } = run.style;
  const traces = [];
  if (kinds.includes("train") && run.series.train[chart.train]) {
    const { train } = run.series;
    const smoothed = scene.span > 0 && !chart.raw;
    const raw = { line: { color: colour, width: 1.1 }, opacity: smoothed ? 0.22 : 0.8 };
    const values = train[chart.train];
    traces.push(line("train", train, values, smoothed ? { ...raw, hoverinfo: "skip", showlegend: false } : raw));
    if (smoothed) {
      const average = smooth(train.step, values, scene.span);
      traces.push(line("train", train, average, { line: { color: colour, width: 1.5 } }));
    }
  }
  for (const kind of ["fit", "test"].filter((each) => kinds.includes(each) && chart[each])) {
    const table = run.series.eval;
    const values = table[chart[kind]];
    if (!values?.some((value) => value != null)) continue;
    const test = kind === "test";
    const few = values.length <= FEW;
    const marker = { color: colour, symbol: test ? mark : `${mark}-open`, size: test ? 6 : 5 };
    traces.push(
      line(kind, table, values, {
        mode: few ? "lines+markers" : "lines",
        line: { color: colour, width: test ? 2.4 : 1.5, dash: test ? "solid" : "dot" },
        ...(few && { marker }),
      }),
    );
  }
  return traces;
}

function layout(chart, scene, { unit, logged, range, height, marks }) {
  const { ink, quiet, rule, page } = scene.look;
  const axis = { gridcolor: rule, linecolor: rule, zeroline: false, tickfont: { color: quiet, size: 11 } };
  return {
    margin: { l: 56, r: 10, t: marks.annotations.length ? 20 : 8, b: 34 },
    font: { family: FONT, size: 12, color: ink },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    showlegend: false,
    hovermode: "x unified",
    hoverdistance: 40,
    hoverlabel: { bgcolor: page, bordercolor: rule, font: { family: FONT, size: 12, color: ink }, namelength: 40 },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", // a finger scrolls the page
    xaxis: {
      ...axis,
      range,
      title: { text: unit.name, font: { size: 11, color: quiet }, standoff: 4 },
      tickformat: scene.axis === "step" ? ",~f" : "",
      hoverformat: scene.axis === "step" ? ",.0f" : ".2f",
      unifiedhovertitle: { text: HOVER[scene.axis] ?? `%{x:.2f} ${unit.name}` },
      showspikes: false,
      nticks: 8,
    },
    yaxis: {
      ...axis,
      type: logged ? "log" : "linear",
      ...(height ? { range: height } : { autorange: true }),
      tickformat: chart.ticks ?? (logged ? "~g" : ""),
      hoverformat: chart.format,
      exponentformat: "power",
      ...(logged && height && { dtick: height[1] - height[0] > 5 ? 1 : "D2" }),
      nticks: chart.low ? 5 : 7,
    },
    shapes: [...cursors(scene, unit), ...marks.shapes],
    annotations: marks.annotations,
  };
}
