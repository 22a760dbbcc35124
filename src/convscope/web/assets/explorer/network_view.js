// The network as a map: from the image at the top to the classes at the bottom, each layer a door to its channels.
import { element } from "../shared/dom.js";
import { figure, many, percent, thousands } from "../shared/words.js";
import { places } from "./addresses.js";
import { makeTree } from "./tree.js";

export function openNetwork({ network }) {
  const widest = Math.max(1, ...network.layers.map(({ channels }) => channels ?? 0));
  const largest = Math.max(1, ...network.layers.map(({ shape }) => (shape?.length === 3 ? shape[1] : 1)));
  const scale = { widest, largest };
  const flow = element("ol", { class: "flow" }, inputRow(network, scale));
  for (const branch of makeTree(network.layers)) flow.append(drawBranch(branch, scale, 0));
  if (network.classes.length) flow.append(outputRow(network));
  const node = element("article", { class: "network" }, heading(network), flow);
  return { node, title: network.name };
}

function heading({ name, source, dataset, parameters, figures, weights_sha256: weights, classes }) {
  const facts = [
    ["parameters", parameters == null ? null : thousands(parameters)],
    ["test accuracy", figures?.test_accuracy == null ? null : percent(figures.test_accuracy)],
    ["train accuracy", figures?.train_accuracy == null ? null : percent(figures.train_accuracy)],
    ["classes", classes.length || null],
    ["dataset", dataset?.name],
    ["test images", dataset?.test == null ? null : thousands(dataset.test)],
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

function inputRow({ input_size: size }, scale) {
  const shape = [3, ...(size ?? [])];
  return element(
    "li",
    { class: "row ends" },
    slab(shape, scale),
    element("span", { class: "name" }, "image"),
    element("span", { class: "shape" }, saidShape(shape.slice(-2))),
  );
}

function outputRow({ classes }) {
  const links = classes
    .slice(0, 24)
    .map((name, number) => element("a", { class: "chip", href: places.class(number) }, name));
  const more = classes.length > 24 ? element("a", { class: "chip", href: places.class(0) }, `all ${classes.length} …`) : null;
  return element("li", { class: "row ends classes" }, element("span", { class: "name" }, "classes"), element("span", { class: "chips" }, ...links, more));
}

function drawBranch({ layer, name, label, branches }, scale, depth) {
  if (!branches.length) return leafRow(layer, label, scale);
  const inside = element("ol", {}, ...branches.map((each) => drawBranch(each, scale, depth + 1)));
  const title = layer?.alias ? `${layer.alias} ` : "";
  const head = element(
    "div",
    { class: layer?.explorable ? "row door" : "row" },
    layer ? slab(layer.shape, scale) : element("span", { class: "slab" }),
    link(layer, element("span", { class: "name" }, `${title}`, element("code", {}, label ?? name))),
    element("span", { class: "detail note" }, layer?.detail || kindOf(layer, branches)),
    element("span", { class: "shape" }, saidShape(layer?.shape)),
  );
  return element("li", { class: depth ? "block" : "stage" }, head, inside);
}

function leafRow(layer, label, scale) {
  const alias = layer.alias ? `${layer.alias} ` : "";
  return element(
    "li",
    { class: layer.explorable ? "row door" : "row quiet" },
    slab(layer.explorable ? layer.shape : null, scale),
    link(layer, element("span", { class: "name" }, alias, element("code", {}, label))),
    element("span", { class: "detail note" }, layer.detail || layer.kind),
    element("span", { class: "shape" }, layer.explorable ? saidShape(layer.shape) : ""),
  );
}

function link(layer, name) {
  if (!layer?.explorable) return name;
  const said = layer.channels ? many(layer.channels, "channel") : "";
  return element("a", { href: places.layer(layer.name), title: `${layer.name}: ${said}` }, name);
}

function kindOf(layer, branches) {
  return layer ? layer.kind : many(branches.length, "layer");
}

/** A layer as a slab: as high as its maps, as wide as it has channels; both on a root scale. */
function slab(shape, { widest, largest }) {
  const made = element("span", { class: "slab", "aria-hidden": true });
  if (!shape?.length) return made;
  const [channels, height = 1] = shape;
  const body = element("i", {});
  body.style.width = `${(8 + 92 * Math.sqrt(channels / widest)).toFixed(1)}%`;
  body.style.height = `${(0.25 + 1.5 * Math.sqrt(height / largest)).toFixed(2)}rem`;
  made.append(body);
  return made;
}

export function saidShape(shape) {
  return shape?.length ? shape.map((each) => figure(each)).join(" × ") : "";
}
