// How often a channel gives which value: columns on an axis that says where they begin and end.
import { figure, many } from "../shared/words.js";

const WIDTH = 320;
const HEIGHT = 110;
const SPACE = "http://www.w3.org/2000/svg";

/** An SVG of {edges, counts}; the heights are on a root scale, so that rare values can be seen. */
export function histogram({ edges, counts }) {
  const highest = Math.max(1, ...counts);
  const step = WIDTH / counts.length;
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + 16}`, class: "histogram", role: "img" });
  const said = `Histogram: ${many(counts.reduce((sum, each) => sum + each, 0), "value")} from ${figure(edges[0])} to ${figure(edges.at(-1))}`;
  svg.append(shape("title", {}, said));
  counts.forEach((count, place) => {
    const height = HEIGHT * Math.sqrt(count / highest);
    const column = shape("rect", { x: place * step + 0.5, y: HEIGHT - height, width: Math.max(1, step - 1), height });
    column.append(shape("title", {}, `${figure(edges[place])} to ${figure(edges[place + 1])}: ${many(count, "value")}`));
    svg.append(column);
  });
  svg.append(shape("line", { x1: 0, x2: WIDTH, y1: HEIGHT + 0.5, y2: HEIGHT + 0.5 }));
  svg.append(shape("text", { x: 0, y: HEIGHT + 13 }, figure(edges[0])));
  svg.append(shape("text", { x: WIDTH, y: HEIGHT + 13, "text-anchor": "end" }, figure(edges.at(-1))));
  return svg;
}

function shape(tag, attributes, text = null) {
  const made = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text != null) made.textContent = text;
  return made;
}
