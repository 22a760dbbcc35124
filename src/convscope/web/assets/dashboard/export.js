// A chart as a file for a paper: dark on white, with a legend and a title, without the film's line.
import { drawFigure } from "./figures.js";
import { paperColour } from "./run_styles.js";

const PAPER = { ink: "#22242b", quiet: "#55585f", rule: "#dcdee5", page: "#ffffff", shade: "#f0f1f4" };
const SIZE = { png: { width: 900, height: 540, scale: 2 }, svg: { width: 900, height: 540 } };

/** Saves the chart as "png" or "svg" under the names of the chart and of the runs. */
export function exportChart(plotly, chart, scene, format) {
  const runs = scene.runs.map((run) => ({ ...run, style: { ...run.style, colour: paperColour(run.id) } }));
  const { data, layout } = drawFigure(chart, { ...scene, runs, look: PAPER, cursors: [] });
  const figure = {
    data,
    layout: {
      ...layout,
      shapes: layout.shapes.filter(({ visible }) => visible !== false),
      paper_bgcolor: "#ffffff",
      title: { text: chart.title, font: { size: 15 }, x: 0, xref: "paper", xanchor: "left" },
      showlegend: true,
      legend: { orientation: "h", y: -0.16, yanchor: "top", x: 0 },
      margin: { l: 64, r: 16, t: 56, b: 90 },
    },
  };
  const names = [chart.name, ...scene.runs.map(({ name }) => name)].join("-");
  const filename = names.replace(/[^\p{L}\p{N}.-]+/gu, "_").slice(0, 100);
  return plotly.downloadImage(figure, { format, filename, ...SIZE[format] });
}
