// What stands behind and across the curves: the phases of the training, and the film's step.
import { plain } from "../shared/words.js";

/** A line for each run's place in the film, drawn first in the list so that it can be moved alone. */
export function cursors(scene, unit) {
  const places = scene.cursors ?? [];
  const same = places.every((place) => place === places[0]);
  return scene.runs.map((run, index) => {
    const place = places[index];
    const colour = same ? scene.look.ink : run.style.colour;
    return upright(place == null ? 0 : place / unit.size, {
      visible: place != null && (!same || index === 0),
      line: { color: colour, width: 1.4 },
      opacity: 0.8,
    });
  });
}

/** {shapes, annotations} of the phases: shaded where all runs have the same ones, else a line where one changes.
 *
 * `range` is what the chart shows; a phase that began before it is named at its edge.
 */
export function phaseMarks(scene, unit, range) {
  const several = scene.runs.filter(({ phases }) => phases.length > 1);
  if (!several.length) return { shapes: [], annotations: [] };
  const scaled = (edges) => edges.map((edge) => edge / unit.size);
  const spans = several.map((run) => stretches(run, scene.axis).map(scaled));
  const same = several.length === scene.runs.length && spans.every((each) => String(each) === String(spans[0]));
  const marks = same
    ? [shaded(several[0], spans[0], range, scene.look)]
    : several.map((run, row) => changes(run, spans[row], range, row));
  const all = (kind) => marks.flatMap((each) => each[kind]);
  return { shapes: all("shapes"), annotations: all("annotations") };
}

/** Where each phase begins and ends on the axis; NaN where that is not known yet. */
function stretches({ phases }, axis) {
  if (axis !== "time") return phases.map((phase) => [phase[`first_${axis}`] ?? NaN, phase[`last_${axis}`] ?? NaN]);
  const begun = phases.map((phase) => phase.first_time ?? NaN);
  return begun.map((first, place) => [first, begun[place + 1] ?? NaN]);
}

function shaded(run, spans, [from, to], look) {
  const shown = spans
    .map(([first, last], place) => ({ first: Math.max(first, from), last: Math.min(last || to, to), place }))
    .filter(({ first, last }) => first < last);
  const shapes = shown
    .filter(({ place }) => place % 2)
    .map(({ first, last }) => ({
      ...{ type: "rect", xref: "x", yref: "paper", x0: first, x1: last, y0: 0, y1: 1 },
      ...{ layer: "below", line: { width: 0 }, fillcolor: look.shade },
    }));
  const annotations = shown.map(({ first, place }) => label(first, run.phases[place].name, look.quiet));
  return { shapes, annotations };
}

function changes(run, spans, [from, to], row) {
  const borders = spans
    .map(([first], place) => ({ first, place }))
    .filter(({ first, place }) => place && first >= from && first <= to);
  const line = { color: run.style.colour, width: 1.2, dash: "dot" };
  const said = (place) => `${run.phases[place - 1].name} → ${run.phases[place].name}`;
  return {
    shapes: borders.map(({ first }) => upright(first, { line, layer: "below" })),
    annotations: borders.map(({ first, place }) => label(first, said(place), run.style.colour, row)),
  };
}

function upright(place, look) {
  return { type: "line", xref: "x", yref: "paper", x0: place, x1: place, y0: 0, y1: 1, ...look };
}

function label(place, text, colour, row = 0) {
  const font = { size: 11, color: colour };
  const across = { x: place, xref: "x", xanchor: "left" };
  const up = { y: 1, yref: "paper", yanchor: row ? "top" : "bottom", yshift: -13 * row };
  return { ...across, ...up, text: plain(text), font, showarrow: false };
}
