// How often a channel gives which value: columns over an axis, both with their figures.
import { figure, many, thousands } from "../shared/words.js";

const [WIDTH, HEIGHT, LEFT, BELOW, ABOVE] = [460, 150, 46, 34, 8];
const TICKS = 5;
const SPACE = "http://www.w3.org/2000/svg";

/** An SVG of {edges, counts}; the heights are on a root scale, so that rare values can be seen. */
export function histogram({ edges, counts }) {
  const highest = Math.max(1, ...counts);
  const [low, high] = [edges[0], edges.at(-1)];
  const across = (value) => LEFT + ((value - low) / (high - low || 1)) * (WIDTH - LEFT);
  const up = (count) => ABOVE + (HEIGHT - ABOVE) * (1 - Math.sqrt(count / highest));
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + BELOW}`, class: "histogram", role: "img" });
  const total = counts.reduce((sum, each) => sum + each, 0);
  svg.append(shape("title", {}, `How many of ${many(total, "image")} reach which highest value, from ${figure(low)} to ${figure(high)}`));
  for (const count of new Set([0, roundedDown(highest / 4), roundedDown(highest)])) {
    svg.append(shape("line", { x1: LEFT, x2: WIDTH, y1: up(count), y2: up(count), class: count ? "grid-line" : "axis" }));
    svg.append(shape("text", { x: LEFT - 6, y: up(count) + 4, "text-anchor": "end" }, thousands(count)));
  }
  counts.forEach((count, place) => {
    const [from, to] = [across(edges[place]), across(edges[place + 1])];
    const column = shape("rect", { x: from + 0.5, y: up(count), width: Math.max(1, to - from - 1), height: HEIGHT - up(count) });
    column.append(shape("title", {}, `${figure(edges[place])} to ${figure(edges[place + 1])}: ${many(count, "image")}`));
    svg.append(column);
  });
  for (const value of ticks(low, high)) {
    const x = across(value);
    svg.append(shape("line", { x1: x, x2: x, y1: HEIGHT, y2: HEIGHT + 4, class: "axis" }));
    svg.append(shape("text", { x: Math.min(x, WIDTH - 10), y: HEIGHT + 16, "text-anchor": "middle" }, figure(value)));
  }
  svg.append(shape("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT + 31, "text-anchor": "middle" }, "highest value in an image"));
  return svg;
}

/** Round numbers between two, about as many as TICKS. */
function ticks(low, high) {
  const rough = (high - low) / TICKS;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, place) => (first + place) * step);
}

/** A count with one digit that counts: 1,437 is 1,000. */
function roundedDown(count) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, count)));
  return Math.floor(count / power) * power;
}

function shape(tag, attributes, text = null) {
  const made = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text != null) made.textContent = text;
  return made;
}
