// A layer: all its channels as pictures, to sort, to filter and to search.
import { element, say, sayOrHide } from "../shared/dom.js";
import { ask } from "../shared/server.js";
import { figure, many, percent, thousands } from "../shared/words.js";
import { api, places } from "./addresses.js";
import { classChoice } from "./class_choice.js";
import { choiceOf, field, selectOf, unavailable } from "./controls.js";
import { walkTiles } from "./keys.js";
import { Loader } from "./loader.js";
import { saidShape } from "./network_view.js";
import { progressOf } from "./progress.js";
import { orderRows, KINDS, SORTS } from "./rows.js";
import { channelTile, keyOf } from "./tiles.js";

const AGAIN = 2000; // milliseconds until the numbers that are being measured are asked for again
const PICTURE_NAMES = { pattern: "patterns", "top-image": "top images", filter: "filters" };

export function openLayer({ network, layerOf, goTo, replace }, route) {
  const name = route.parts[1];
  const layer = layerOf(name);
  const loader = new Loader();
  let query = route.query;
  let told = null;
  let timer = 0;
  let closed = false;
  let tiles = new Map();
  let tilesOf = null;

  const kinds = choiceOf("Pictures", [], (value) => turn({ show: value }));
  const sort = selectOf(SORTS, (value) => turn({ sort: value === "channel" ? null : value }));
  const kind = selectOf(KINDS, (value) => turn({ kind: value === "all" ? null : value }));
  const classes = network.dataset ? network.classes : []; // without labels no channel favours any
  const favourite = classChoice(classes, "any class", (value) => turn({ class: value }));
  const search = element("input", { type: "search", placeholder: "number or class …", autocomplete: "off", spellcheck: "false" });
  search.addEventListener("input", () => turn({ find: search.value }));
  const count = element("p", { class: "note", role: "status" });
  const awaited = element("p", { class: "note awaited", hidden: true });
  const trouble = element("p", { class: "trouble", role: "alert", hidden: true });
  const grid = element("div", { class: "grid channels" });
  const head = element(
    "header",
    { class: "view-top" },
    element("h2", {}, layer?.alias ? `${layer.alias} ` : "", element("code", {}, name)),
    element("p", { class: "note" }, layer ? `${layer.detail || layer.kind} · ${saidShape(layer.shape)}` : ""),
    neighbours(network, name),
  );
  const tools = element(
    "div",
    { class: "tools", role: "toolbar", "aria-label": "Which channels, and how" },
    kinds.node,
    field("Sort by", sort.node),
    field("Show", kind.node),
    classes.length ? field("Favourite", favourite.node) : null,
    field("Find", search),
    count,
  );
  const node = element("article", { class: "layer" }, head, tools, trouble, awaited, grid);
  walkTiles(grid);
  for (const control of [sort.node, kind.node, favourite.control]) unavailable(control, true);

  function turn(changes) {
    query = { ...query, ...changes };
    replace(places.layer(name, query));
    draw();
  }

  async function fetchRows() {
    clearTimeout(timer);
    try {
      told = await ask(api.layer(name));
    } catch (error) {
      if (!closed) sayOrHide(trouble, error.message);
      return;
    }
    if (closed) return;
    sayOrHide(trouble, "");
    if (!told.rows && isMeasured()) timer = setTimeout(fetchRows, AGAIN);
    draw();
  }

  /** Whether there are images that say what the channels answer to. */
  function isMeasured() {
    return told.pictures.includes("top-image");
  }

  function draw() {
    if (!told) return;
    const { pictures } = told;
    const shown = pictures.includes(query.show) ? query.show : pictures[0];
    kinds.set(Object.entries(PICTURE_NAMES).filter(([each]) => pictures.includes(each)), shown);
    sort.set(query.sort ?? "channel");
    kind.set(query.kind ?? "all");
    favourite.set(query.class ?? "");
    if (document.activeElement !== search) search.value = query.find ?? "";
    const known = Boolean(told.rows);
    for (const control of [sort.node, kind.node, favourite.control]) unavailable(control, !known);
    const rows = known ? told.rows : Array.from({ length: told.channels }, (_, channel) => ({ channel }));
    const chosen = orderRows(rows, { ...query, classes });
    const all = many(rows.length, "channel");
    say(count, chosen.length === rows.length ? all : `${thousands(chosen.length)} of ${all}`);
    sayWhatIsAwaited(shown, known);
    place(chosen, shown, known);
  }

  function sayWhatIsAwaited(shown, known) {
    const said = [];
    const drawn = told.drawn_steps.filter(Boolean).length;
    if (!known && !isMeasured()) said.push("There are no images, so what the channels answer to is not measured.");
    if (!known && isMeasured()) said.push(`What they answer to is being measured: ${progressOf("survey") || "it is next"}.`);
    if (shown === "pattern" && drawn < told.channels) said.push(`${thousands(drawn)} of ${thousands(told.channels)} patterns are drawn.`);
    const stands = shown !== "filter" && (shown === "pattern" ? drawn < told.channels : !known) && isMeasured();
    if (stands) said.push("Until a picture is there, what is faint stands in for it: a top image, or the map of the first image.");
    sayOrHide(awaited, said.join(" "));
  }

  function sayAgain() {
    sayWhatIsAwaited(told.pictures.includes(query.show) ? query.show : told.pictures[0], Boolean(told.rows));
  }

  function place(rows, picture, known) {
    const state = `${picture} ${known} ${query.sort}`;
    if (tilesOf !== state) {
      for (const tile of tiles.values()) tile.dispose();
      tiles = new Map();
      tilesOf = state;
    }
    const wanted = rows.map((row) => {
      if (!tiles.has(row.channel)) tiles.set(row.channel, tileOf(row, picture));
      return tiles.get(row.channel).node;
    });
    grid.replaceChildren(...wanted);
    if (!wanted.length) grid.append(element("p", { class: "empty" }, "No channel is like this. Choose fewer conditions."));
  }

  function tileOf(row, picture) {
    const marks = [row.dead ? "dead" : "", row.duplicate_of != null ? "duplicate" : ""].filter(Boolean);
    const made = channelTile(loader, network, { layer: name, channel: row.channel, picture, note: noteOf(row), marks });
    made.node.title = describe(row);
    return made;
  }

  function noteOf(row) {
    if (row.dead) return "dead";
    if (row.duplicate_of != null) return `= ${row.duplicate_of}`;
    const value = { maximum: figure, mean: figure, share_active: percent, selectivity: figure }[query.sort]?.(row[query.sort]);
    return value ?? classes[row.favourite] ?? null;
  }

  function describe(row) {
    if (row.maximum == null) return `channel ${row.channel}`;
    const likes = classes[row.favourite];
    const words = [`channel ${row.channel}`, `highest ${figure(row.maximum)}`, `mean ${figure(row.mean)}`];
    words.push(`active in ${percent(row.share_active)}`);
    if (likes != null) words.push(`most for ${likes} (selectivity ${figure(row.selectivity)})`);
    return words.join("\n");
  }

  fetchRows();
  return {
    node,
    title: layer?.alias ?? name,
    update(next) {
      query = next.query;
      draw();
    },
    drawn({ layer: which, channel, steps }) {
      if (which !== name) return;
      loader.again(keyOf(name, channel));
      if (!told) return;
      told.drawn_steps[channel] = steps;
      sayAgain();
    },
    progress({ what, done, total }) {
      if (what !== "survey" || !told || told.rows) return;
      if (done === total) fetchRows();
      else sayAgain();
    },
    close() {
      closed = true;
      clearTimeout(timer);
      loader.close();
    },
  };
}

/** Links to the explorable layers before and after. */
function neighbours(network, name) {
  const doors = network.layers.filter(({ explorable }) => explorable);
  const place = doors.findIndex((each) => each.name === name);
  const link = (layer, rel, sign) =>
    layer ? element("a", { rel, href: places.layer(layer.name), title: layer.name }, sign) : null;
  const before = place > 0 ? link(doors[place - 1], "prev", `‹ ${doors[place - 1].name}`) : null;
  return element("nav", { class: "neighbours", "aria-label": "Layers beside" }, before, place < 0 ? null : link(doors[place + 1], "next", `${doors[place + 1]?.name} ›`));
}
