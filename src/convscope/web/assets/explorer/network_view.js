// The network as a map: from the image at the top to the classes at the bottom, each layer a door to its channels.
import { element } from "../shared/dom.js";
import { many, percent, thousands } from "../shared/words.js";
import { places } from "./addresses.js";
import { walkTiles } from "./keys.js";
import { Loader } from "./loader.js";
import { channelTile, isSearched, keyOf } from "./tiles.js";
import { makeTree } from "./tree.js";

const SAMPLES = 12; // channels of a stage that are shown beside it
const FEW = 24; // classes that are shown; more are behind a link

export function openNetwork({ network }) {
  const loader = new Loader();
  const { layers, classes } = network;
  const scale = {
    widest: Math.max(1, ...layers.map(({ channels }) => channels ?? 0)),
    highest: Math.max(1, network.input_size[0]),
  };
  const picture = isSearched(network) ? "top-image" : "pattern"; // what is there soonest
  const flow = element("ol", { class: "flow" });
  const size = network.input_size;
  flow.append(element("li", { class: "ends" }, row({ shape: [3, ...size], name: "image", said: size.join(" × ") }, scale)));
  for (const branch of makeTree(layers)) flow.append(drawBranch(branch, scale, 0, (layer) => samples(layer, loader, network, picture)));
  if (classes.length) flow.append(outputs(classes));
  walkTiles(flow);
  return {
    node: element("article", { class: "network" }, heading(network), flow),
    title: network.name,
    drawn: ({ layer, channel }) => loader.again(keyOf(layer, channel)),
    close: () => loader.close(),
  };
}

/** What is known of a network before it is open. */
export function openEarly({ network }) {
  const waiting = element("p", { class: "waiting note" }, "Opening the network: its layers and images come in some seconds.");
  const known = network.classes.length ? element("ol", { class: "flow" }, outputs(network.classes)) : null;
  return { node: element("article", { class: "network" }, heading(network), waiting, known), title: network.name };
}

function heading({ name, source, dataset, parameters, figures, weights_sha256: weights, classes }) {
  const facts = [
    ["test accuracy", figures.test_accuracy == null ? null : percent(figures.test_accuracy)],
    ["train accuracy", figures.train_accuracy == null ? null : percent(figures.train_accuracy)],
    ["parameters", parameters == null ? null : thousands(parameters)],
    ["dataset", dataset?.name],
    ["test images", dataset && thousands(dataset.test)],
    ["classes", classes.length ? thousands(classes.length) : null],
  ].filter(([, said]) => said != null);
  const list = facts.map(([what, said]) => element("div", {}, element("dt", {}, what), element("dd", {}, said)));
  const origin = [source === name ? null : source, weights ? `weights ${weights.slice(0, 12)}` : null];
  return element(
    "header",
    { class: "facts-top" },
    element("h2", {}, name),
    element("p", { class: "note" }, origin.filter(Boolean).join(" · ")),
    element("dl", { class: "facts" }, ...list),
  );
}

function outputs(classes) {
  const chip = (words, number) => element("a", { class: "chip", href: places.class(number) }, words);
  const chips = classes.slice(0, FEW).map(chip);
  if (classes.length > FEW) chips.push(chip(`all ${thousands(classes.length)} …`, 0));
  return element("li", { class: "row ends outputs" }, element("b", {}, "classes"), element("span", { class: "chips" }, ...chips));
}

/** A part of the network; what cannot be opened is told beside what comes before it. */
function drawBranch(branch, scale, depth, show) {
  const { layer, label, branches } = branch;
  if (!branches.length) return element("li", {}, rowOf(branch, scale, depth));
  const inner = [];
  for (const part of branches) {
    const before = inner.at(-1);
    const small = !part.branches.length && !part.layer.explorable;
    if (small && before && !before.branches.length) before.then.push(part.layer);
    else inner.push({ ...part, then: [] });
  }
  const list = element("ol", {}, ...inner.map((part) => drawBranch(part, scale, depth + 1, show)));
  const parts = element("div", { class: "parts" }, rowOf({ layer, label, then: [], branches }, scale, depth), list);
  if (depth) return element("li", { class: "block" }, parts);
  return element("li", { class: "stage" }, parts, layer?.explorable ? show(layer) : null);
}

/** Some channels of a stage, evenly from all of them. */
function samples({ name, channels }, loader, network, picture) {
  const grid = element("div", { class: "grid samples" });
  const count = Math.min(channels, SAMPLES);
  for (let place = 0; place < count; place += 1) {
    const channel = Math.floor((place * channels) / count);
    grid.append(channelTile(loader, network, { layer: name, channel, picture }).node);
  }
  const words = picture === "pattern" ? "what some of its channels answer to most" : "what excites some of its channels most";
  return element("div", { class: "shown" }, grid, element("p", { class: "note" }, words));
}

function rowOf({ layer, label, then = [], branches }, scale, depth) {
  const kind = layer ? layer.detail || layer.kind : many(branches.length, "part");
  const detail = [kind, ...then.map(({ kind: next }) => next)].join(" → ");
  const { explorable, name, alias, shape, channels } = layer ?? {};
  const said = explorable ? saidShape(shape) : "";
  const href = explorable ? places.layer(name) : null;
  const title = explorable ? `${name}: ${many(channels, "channel")}` : null;
  return row({ shape: explorable ? shape : null, name: label, alias, said, detail, href, title, depth }, scale);
}

function row({ shape, name, alias, said, detail = "", href = null, title = null, depth = 0 }, scale) {
  const words = element("span", { class: "name" }, alias ? element("b", {}, `${alias} `) : null, element("code", {}, name));
  const parts = [slab(shape, scale), words, element("span", { class: "detail note" }, detail), element("span", { class: "shape" }, said)];
  const made = element(href ? "a" : "div", { class: href ? "row door" : "row", href, title }, ...parts);
  made.style.setProperty("--depth", depth);
  return made;
}

/** A layer as a slab: as high as its maps, as wide as it has channels; both on a root scale. */
function slab(shape, { widest, highest }) {
  const made = element("span", { class: "slab", "aria-hidden": true });
  if (!shape?.length) return made;
  const [channels, height = 1] = shape;
  const body = element("i", {});
  body.style.width = `${(8 + 92 * Math.sqrt(Math.min(1, channels / widest))).toFixed(1)}%`;
  body.style.height = `${(0.25 + 1.45 * Math.sqrt(Math.min(1, height / highest))).toFixed(2)}rem`;
  made.append(body);
  return made;
}

export function saidShape(shape) {
  return shape?.length ? shape.map((each) => thousands(each)).join(" × ") : "";
}
