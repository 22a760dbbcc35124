// Each run's colour and mark, the same in the list, the charts and the film.
import { isDark } from "../shared/theme.js";

// Told apart by the colour-blind (after Okabe and Ito), each with enough contrast to the page behind it.
const LIGHT = ["#0072b2", "#d55e00", "#00835f", "#b8488f", "#8a6a00", "#2f93d1", "#7a2a1c"];
const DARK = ["#56b4e9", "#f0883e", "#2fc79b", "#e88fc4", "#e3c04c", "#9ed6ff", "#d99a86"];
const MARKS = ["circle", "diamond", "square", "triangle-up", "triangle-down"];
const places = new Map();

/** Gives runs that are new a place, by when they began: the same after a reload, another for each neighbour. */
export function placeRuns(runs) {
  const order = [...runs].sort((one, other) => compare(one.started, other.started) || compare(one.id, other.id));
  for (const { id } of order) if (!places.has(id)) places.set(id, places.size);
}

/** A run's colour in the theme of the moment, and the mark that tells apart runs that share a colour. */
export function styleOf(id) {
  const place = places.get(id) ?? 0;
  const colours = isDark() ? DARK : LIGHT;
  const round = Math.floor(place / colours.length);
  return { colour: colours[place % colours.length], mark: MARKS[(place + round) % MARKS.length] };
}

/** The colour that the run has on paper. */
export const paperColour = (id) => LIGHT[(places.get(id) ?? 0) % LIGHT.length];

function compare(one, other) {
  return String(one ?? "") < String(other ?? "") ? -1 : Number(one !== other);
}
