// A class: what the network takes for it, rightly and wrongly, and the channels that say so.
import { element, sayOrHide } from "../shared/dom.js";
import { ask } from "../shared/server.js";
import { change, percent, smallPercent } from "../shared/words.js";
import { api, places } from "./addresses.js";
import { barList } from "./bars.js";
import { classChoice } from "./class_choice.js";
import { field, section, waiting } from "./controls.js";
import { figureOf } from "./figure.js";
import { walkTiles } from "./keys.js";
import { Loader } from "./loader.js";
import { breakable, channelTile, imageTile, keyOf, nameOf } from "./tiles.js";

const AGAIN = 1500; // milliseconds until what is being measured is asked for again
const FEW = 16; // so many classes stand side by side; more are in a list

export function openClass({ network, layerOf, goTo }, route) {
  const number = Number(route.parts[1] ?? 0);
  const name = network.classes[number];
  const loader = new Loader();
  let closed = false;
  let timer = 0;
  let shown = "";
  let headKey = null;
  const byWeight = element("div", {}); // filled where no images tell which channels speak for the class
  const trouble = element("p", { class: "trouble", role: "alert", hidden: true });
  const pattern = figureOf(api.class(number, "/pattern.png"), `what the network takes most for ${name}`, { waiting: "drawing the pattern …" });
  const sections = element("div", { class: "sections" }, waiting("Asking about the class …"));
  const node = element(
    "article",
    { class: "class" },
    element("header", { class: "view-top" }, element("h2", {}, "Class ", element("b", {}, name ?? `${number}`)), picker(network, number, goTo)),
    trouble,
    element("div", { class: "channel-top" }, section("Pattern", pattern.node), element("div", { class: "beside" }, sections)),
  );
  if (name == null) {
    sayOrHide(trouble, network.classes.length ? `There is no class ${number}; there are 0 to ${network.classes.length - 1}.` : "This network's classes have no names, and no images.");
    sections.replaceChildren();
    pattern.node.hidden = true;
    return { node, title: "Class", close: () => loader.close() };
  }
  async function fetchAll() {
    let told;
    try {
      told = await ask(api.class(number));
    } catch (error) {
      if (closed) return;
      sections.replaceChildren();
      sayOrHide(trouble, error.message);
      return;
    }
    if (closed) return;
    if (told.waiting) timer = setTimeout(fetchAll, AGAIN);
    showPattern(told);
    show(told);
    if (told.head && !network.dataset && !byWeight.childElementCount) showWeights(told.head);
  }

  function showPattern({ head, commands }) {
    pattern.node.parentElement.hidden = !head;
    pattern.setCommand(commands.pattern);
    if (head && !headKey) loader.add(pattern.node, () => pattern.picture.load(), (headKey = keyOf(head, number)));
  }

  function show(told) {
    if (JSON.stringify(told) === shown) return;
    shown = JSON.stringify(told);
    const parts = [
      told.waiting && !told.typical ? waiting("Asking the network about all images; they come by themselves …") : null,
      images("Taken for it soonest", told.likeliest, "The images to which the network gives this class the highest probability; what they are is not known."),
      images("Most typical", told.typical, "Its own images of which the network is surest."),
      images("Intruders", told.intruders, "Images of other classes that it takes for this one, the surest mistakes first."),
      images("Missed", told.missed, "Its own images that it takes for another class."),
      channels("Speak for it", told.for, "The channels that add most to its score on its own images."),
      channels("Speak against it", told.against, "The channels that take most from it."),
      told.waiting && told.typical && !told.for ? waiting("Looking for the channels that speak for it and against it …") : null,
    ].filter(Boolean);
    if (!parts.length) parts.push(element("p", { class: "note" }, "There are no images of this class, so there is little to show."));
    sections.replaceChildren(...parts, byWeight);
  }

  function images(heading, judged, words) {
    if (!judged) return null;
    const note = element("p", { class: "note" }, judged.length ? words : "none");
    const grid = element("div", { class: "grid images" });
    for (const each of judged) grid.append(judgedTile(each));
    walkTiles(grid);
    return section(heading, note, grid);
  }

  function judgedTile(each) {
    const { id, label, predicted, probability } = each;
    if (label == null) return imageTile(loader, { id, caption: smallPercent(probability), title: `taken for ${network.classes[predicted]}` });
    const wrong = predicted !== label;
    const sure = percent(probability, 0);
    const [is, taken] = [network.classes[label], network.classes[predicted]];
    const title = wrong ? `${is}, taken for ${taken}, ${sure} sure` : `${is}, ${sure} sure`;
    return imageTile(loader, { id, caption: wrong ? `${is} → ${taken}` : sure, wrong, title });
  }

  function channels(heading, rows, words) {
    if (!rows?.length) return null;
    const grid = element("div", { class: "grid channels strip" });
    for (const { layer, channel, contribution } of rows) {
      grid.append(channelTile(loader, network, { layer, channel, label: breakable(nameOf(layerOf, layer, channel)), note: change(contribution) }).node);
    }
    walkTiles(grid);
    const bars = rows.map(({ layer, channel, contribution }) => ({
      name: nameOf(layerOf, layer, channel),
      href: places.channel(layer, channel),
      value: contribution,
      said: change(contribution),
    }));
    return section(heading, element("p", { class: "note" }, words), grid, element("details", {}, element("summary", {}, "as bars"), barList(bars, { signed: true })));
  }

  async function showWeights(head) {
    const { incoming } = await ask(api.channel(head, number)).catch(() => ({}));
    if (closed) return;
    if (!incoming) timer = setTimeout(showWeights, AGAIN, head);
    if (!incoming?.length) return;
    const rows = incoming.map(({ page, channel, strength, balance }) => ({ layer: page, channel, contribution: balance < 0 ? -strength : strength }));
    const words = "The channels whose weights in its score are largest; how often and how strongly they answer is not counted.";
    byWeight.replaceChildren(channels("Weigh most in it", rows.filter(({ layer }) => layer != null), words) ?? "");
  }

  fetchAll();
  return {
    node,
    title: name,
    drawn: ({ layer, channel }) => loader.again(keyOf(layer, channel)),
    close() {
      closed = true;
      clearTimeout(timer);
      loader.close();
    },
  };
}

/** The classes to go to. */
function picker({ classes }, number, goTo) {
  if (classes.length > FEW) {
    const choice = classChoice(classes, "", (value) => goTo(places.class(value)));
    const link = (each, rel, words) => (classes[each] == null ? null : element("a", { rel, href: places.class(each) }, words));
    const beside = [link(number - 1, "prev", `‹ ${classes[number - 1]}`), link(number + 1, "next", `${classes[number + 1]} ›`)];
    return element("div", { class: "tools" }, field("Another class", choice.node), ...beside);
  }
  const links = classes.map((name, each) =>
    element("a", { class: "chip", href: places.class(each), "aria-current": each === number ? "page" : null, rel: each === number - 1 ? "prev" : each === number + 1 ? "next" : null }, name),
  );
  return element("nav", { class: "chips", "aria-label": "Classes" }, ...links);
}
