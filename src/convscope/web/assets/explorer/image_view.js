// An image: what the network makes of it, layer by layer, down to a single unit.
import { element, say, sayOrHide } from "../shared/dom.js";
import { ask } from "../shared/server.js";
import { figure, percent } from "../shared/words.js";
import { api, places, tail } from "./addresses.js";
import { startAttribution } from "./attribution.js";
import { barList } from "./bars.js";
import { choiceOf, field, section, selectOf } from "./controls.js";
import { decisiveList } from "./decisive.js";
import { figureOf } from "./figure.js";
import { Loader } from "./loader.js";
import { MapsSheet } from "./maps_sheet.js";

const SHOWN = 8; // classes in the list
const HINT = "Click any cell of a feature map: what that one unit sees in the image appears here.";

export function openImage({ network, layerOf, goTo, replace }, route) {
  const id = route.parts[1];
  const doors = network.layers.filter(({ explorable, channels }) => explorable && channels);
  const loader = new Loader();
  let layer = chosenLayer(route);
  let query = route.query;
  let asked = 0;
  let closed = false;
  let quiet = 0;

  const rules = network.rules.map((each) => [each, each]);
  const own = figureOf(api.image(id, ".png"), "the image");
  const name = element("h2", {}, "Image");
  const truth = element("p", { class: "note" });
  const trouble = element("p", { class: "trouble", role: "alert", hidden: true });
  const predictions = element("div", {}, element("p", { class: "waiting note" }, "asking the network …"));
  const unit = figureOf("", "what this unit sees");
  unit.picture.clear(HINT);
  const unitWords = element("p", { class: "unit-words", role: "status" });
  const open = element("a", { hidden: true, class: "small" }, "open the channel");
  const whole = element("button", { type: "button", class: "small", hidden: true }, "the whole map");
  const rule = choiceOf("Rule", rules, (value) => turn({ rule: value === network.rules[0] ? null : value }));
  const layers = selectOf(doors.map((each) => [each.name, each.alias ? `${each.alias} (${each.name})` : each.name]), (value) => goTo(places.image(id, value, { ...query, unit: null })));
  const earlier = element("button", { type: "button", "aria-label": "Layer before" }, "‹");
  const later = element("button", { type: "button", "aria-label": "Layer after" }, "›");
  earlier.addEventListener("click", () => step(-1));
  later.addEventListener("click", () => step(1));
  const sheet = new MapsSheet(id, {
    choose: (chosen) => turn({ unit: `${chosen.channel},${chosen.y},${chosen.x}` }),
    open: ({ channel }) => goTo(places.channel(layer, channel)),
  });
  const overlay = startAttribution(network, id, own.picture.node);
  const node = element(
    "article",
    { class: "image" },
    element("header", { class: "view-top" }, name, truth),
    trouble,
    element(
      "div",
      { class: "looking" },
      element(
        "div",
        { class: "seen" },
        element("div", { class: "pair" }, section("Image", own.node), section("What the unit sees", unit.node)),
        element("div", { class: "told" }, element("div", { class: "tools" }, rule.node, whole, open), unitWords),
        overlay.node,
        section("Predictions", predictions),
      ),
      element(
        "div",
        { class: "maps" },
        section("Feature maps", element("div", { class: "tools" }, field("Layer", layers.node), earlier, later, sheet.pages), sheet.node),
        decisive(),
      ),
    ),
  );
  whole.addEventListener("click", () => turn({ unit: String(unitOf(query.unit)?.channel) }));
  own.picture.load().catch(() => {});

  function chosenLayer({ parts }) {
    const wanted = parts[2] === "layer" ? (layerOf(parts[3])?.name ?? parts[3]) : null;
    return wanted ?? (doors.find(({ kind }) => /relu/i.test(kind)) ?? doors[0])?.name;
  }

  function step(by) {
    const place = doors.findIndex((each) => each.name === layer) + by;
    if (doors[place]) goTo(places.image(id, doors[place].name, { ...query, unit: null }));
  }

  function turn(changes) {
    query = { ...query, ...changes };
    replace(places.image(id, layer, query));
    drawUnit();
  }

  async function fetchAll() {
    try {
      const told = await ask(api.image(id));
      if (!closed) showPredictions(told);
    } catch (error) {
      if (closed) return;
      predictions.replaceChildren();
      sayOrHide(trouble, error.message);
    }
  }

  function showPredictions({ label, probabilities, name: called }) {
    const own = id.startsWith("folder-"); // a file keeps its name as it is
    say(name, called ? (own ? called[0] : called[0].toUpperCase()) + called.slice(1) : "Image");
    document.title = `${name.textContent} · convscope`;
    const [best, , predicted] = probabilities[0];
    const right = network.classes[label];
    if (label != null) say(truth, `${right}${predicted === label ? ", recognized" : `, taken for ${best}`}`);
    truth.classList.toggle("wrong-words", label != null && predicted !== label);
    const rows = probabilities.slice(0, SHOWN).map(([each, share, number]) => ({
      name: each,
      value: share,
      said: percent(share),
      strong: number === label,
      href: number < network.classes.length ? places.class(number) : null,
    }));
    predictions.replaceChildren(barList(rows, { top: 1 }));
    overlay.setPredicted(best);
  }

  function decisive() {
    const list = decisiveList(network, id, layerOf);
    loader.add(list.node, list.load);
    return section("What changes the answer", list.node);
  }

  async function drawMaps() {
    layers.set(layer);
    const place = doors.findIndex((each) => each.name === layer);
    earlier.disabled = place <= 0;
    later.disabled = place < 0 || place >= doors.length - 1;
    await sheet.show(layer, unitOf(query.unit));
  }

  async function drawUnit() {
    const byRule = query.rule ?? network.rules[0];
    const chosen = unitOf(query.unit);
    rule.set(rules, byRule);
    sheet.select(chosen);
    open.hidden = whole.hidden = unit.keep.hidden = !chosen;
    if (!chosen) {
      unit.picture.clear(HINT);
      say(unitWords, "");
      return;
    }
    const mine = ++asked;
    const began = performance.now();
    const place = saidUnit(layer, chosen);
    open.href = places.channel(layer, chosen.channel);
    whole.hidden = chosen.y == null;
    clearTimeout(quiet);
    quiet = setTimeout(() => mine === asked && say(unitWords, `${place}: drawing …`), 200);
    const picture = unit.change(api.unit(id, layer, chosen, `.png${tail({ rule: byRule })}`)).catch(() => {});
    const words = ask(api.unit(id, layer, chosen, tail({ rule: byRule }))).catch((error) => ({ error }));
    await picture;
    if (mine !== asked || closed) return;
    unit.node.dataset.milliseconds = Math.round(performance.now() - began);
    const told = await words;
    if (mine !== asked || closed) return;
    clearTimeout(quiet);
    if (told.error) {
      say(unitWords, told.error.message);
      return;
    }
    unit.setCommand(told.command);
    unit.node.title = told.caption;
    const value = told.value == null ? "" : `, value ${figure(told.value)}`;
    const dark = told.dark ? ". It is silent here: there is nothing to draw back." : ".";
    say(unitWords, `${place}${value}${dark}`);
    unit.node.dataset.drawn = `${layer} ${query.unit} ${byRule}`;
  }

  fetchAll();
  drawMaps();
  drawUnit();
  return {
    node,
    title: "Image",
    update(next) {
      const before = layer;
      query = next.query;
      layer = chosenLayer(next);
      if (layer !== before) drawMaps();
      drawUnit();
    },
    close() {
      closed = true;
      asked += 1;
      loader.close();
      sheet.close();
      overlay.close();
    },
  };
}

/** A unit from the address: "12,3,4" is channel 12 at y 3, x 4; "12" the whole channel. */
function unitOf(text) {
  if (!/^\d+(,\d+,\d+)?$/.test(text ?? "")) return null;
  const [channel, y = null, x = null] = text.split(",").map(Number);
  return { channel, y, x };
}

function saidUnit(layer, { channel, y, x }) {
  return y == null ? `${layer}, channel ${channel}, all of the map` : `${layer}, channel ${channel}, y ${y}, x ${x}`;
}
