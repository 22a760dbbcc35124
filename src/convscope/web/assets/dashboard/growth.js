// New points, drawn on to a chart's lines as they stand: drawing the whole chart takes ten times as long, and lines
// that change are painted anew over all of their height and width, so that what comes is drawn as pieces of its own.

const PIECES = 60; // of a line, before they become one again

/** What has to be known of a figure to draw on from it later. */
export function noteDrawn(figure, runs) {
  return {
    look: lookOf(figure, runs),
    ends: figure.data.map(({ x, y }) => ({ count: x.length, first: x[0], x: x.at(-1), y: y.at(-1) })),
  };
}

/** Makes the chart that was `drawn` show the figure, by drawing on; false where that takes a whole drawing. */
export function drawOn(plot, drawn, figure, runs) {
  if (!drawn || drawn.look !== lookOf(figure, runs)) return false;
  const { xaxis, yaxis } = plot._fullLayout ?? {}; // plotly takes it away while it draws anew
  const groups = plot.querySelectorAll(".scatterlayer > .trace");
  if (!xaxis?.d2p || groups.length !== figure.data.length) return false;
  const additions = figure.data.map((curve, place) => addition(curve, drawn.ends[place], { xaxis, yaxis }));
  const lines = [...groups].map((group) => [...group.querySelectorAll(".js-line")].at(-1));
  if (additions.some((path, place) => path == null || (path && !lines[place]))) return false;
  additions.forEach((path, place) => {
    Object.assign(plot.data[place], { x: figure.data[place].x, y: figure.data[place].y });
    if (path) grow(lines[place], path);
  });
  return true;
}

/** Adds a piece to the end of a line, after those that were added before. */
function grow(line, path) {
  const pieces = [...line.parentNode.querySelectorAll(".piece")];
  if (pieces.length < PIECES) {
    const piece = line.cloneNode();
    piece.setAttribute("class", "piece");
    piece.setAttribute("d", path);
    line.parentNode.append(piece);
    return;
  }
  const whole = [...pieces.map((piece) => piece.getAttribute("d")), path].map((each) => each.replace(/^M[^L]*/, ""));
  line.setAttribute("d", line.getAttribute("d") + whole.join(""));
  pieces.forEach((piece) => piece.remove());
}

/** Takes away what was drawn on, before the chart is drawn whole: plotly knows nothing of it. */
export function takeAway(plot) {
  plot.querySelectorAll(".piece").forEach((piece) => piece.remove());
}

/** The line from the last point to those that came since, as SVG draws it; null where it cannot be drawn on. */
function addition({ x, y, mode }, end, { xaxis, yaxis }) {
  const same = x[0] === end.first && x[end.count - 1] === end.x && y[end.count - 1] === end.y;
  if (!same || x.length < end.count) return null;
  if (x.length === end.count) return "";
  const from = end.count - 1;
  const more = y.slice(from).map((value, place) => [xaxis.d2p(x[from + place]), yaxis.d2p(value)]);
  if (mode !== "lines" || end.count < 2 || end.y == null || !more.flat().every(Number.isFinite)) return null;
  return `M${more.map(([across, down]) => `${across.toFixed(2)},${down.toFixed(2)}`).join("L")}`;
}

/** All that decides how a figure looks, but for its points and the film's lines, which can be changed alone. */
function lookOf({ data, layout }, runs) {
  const curves = data.map((curve) => ({ ...curve, x: null, y: null }));
  const logs = runs.map(({ id, series }) => [id, series?.generation]);
  return JSON.stringify([curves, { ...layout, shapes: layout.shapes.slice(runs.length) }, logs]);
}
