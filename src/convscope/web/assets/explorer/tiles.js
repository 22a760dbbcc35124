// A channel as a tile: its picture, its number, and what is to be known at once; a link to its page.
import { element } from "../shared/dom.js";
import { api, places } from "./addresses.js";
import { Picture } from "./picture.js";

const PICTURES = { pattern: "/pattern.png", "top-image": "/top-image.png", filter: "/filter.png" };
const SMALLEST = 3; // values across, below which a map says nothing

export const keyOf = (layer, channel) => `${layer} ${channel}`;

/** What can be shown of a channel while its picture is being drawn, the best first. */
export function standInsFor(network, layer, channel, picture = "pattern") {
  const split = ["test", "folder", "train"].find((each) => network.splits[each]);
  if (!split || picture === "filter") return [];
  const found = picture === "pattern" && isSearched(network) ? [{ address: api.channel(layer, channel, PICTURES["top-image"]), what: "top image" }] : [];
  const { maps } = network.layers.find(({ name, alias }) => name === layer || alias === layer) ?? {};
  const map = api.maps(`${split}-0`, layer, `.png?columns=1&first=${channel}&count=1`);
  return maps?.[2] >= SMALLEST ? [...found, { address: map, what: "map" }] : found;
}

/** A channel as people call it: by its layer's other name, where it has one. */
export const nameOf = (layerOf, layer, channel) => `${layerOf(layer)?.alias ?? layer} · ${channel}`;

/** A dotted name that may go on in the next line after each dot. */
export const breakable = (name) => name.replaceAll(".", ".\u200b");

/** Whether there are images in which those that excite a channel are looked for. */
export function isSearched({ dataset, splits, input_size: [height, width] }) {
  return Boolean(dataset || (splits.folder && height === width));
}

/** The tile of a layer's channel, whose picture the loader brings: {node, dispose}. */
export function channelTile(loader, network, { layer, channel, picture = "pattern", label = null, note = null, marks = [] }) {
  const address = api.channel(layer, channel, PICTURES[picture]);
  const standIns = standInsFor(network, layer, channel, picture);
  const shown = new Picture(address, `channel ${channel} of ${layer}`, { waiting: "…", standIns });
  const node = element(
    "a",
    { class: ["tile", ...marks].join(" "), href: places.channel(layer, channel), draggable: "false" },
    shown.node,
    element("span", { class: "under" }, element("b", {}, label ?? String(channel)), note ? element("span", {}, note) : null),
  );
  loader.add(node, () => shown.load(), keyOf(layer, channel));
  return { node, dispose: () => (loader.remove(node), shown.clear()) };
}

/** The tile of an image. */
export function imageTile(loader, { id, caption, wrong = false, box = null, title = null, place = [] }) {
  const shown = new Picture(api.image(id, ".png"), title || caption || "image", { waiting: "…" });
  if (box && (box[2] - box[0]) * (box[3] - box[1]) < 1) shown.node.append(outline(box));
  const node = element(
    "a",
    { class: wrong ? "tile wrong" : "tile", href: places.image(id, ...place), title, draggable: "false" },
    shown.node,
    element("span", { class: "under" }, element("span", {}, caption)),
  );
  loader.add(node, () => shown.load());
  return node;
}

/** A box in a picture, as shares [left, top, right, bottom] of it; none around all of it. */
function outline([left, top, right, bottom]) {
  const made = element("i", { class: "box", "aria-hidden": true });
  made.style.left = `${100 * left}%`;
  made.style.top = `${100 * top}%`;
  made.style.width = `${100 * (right - left)}%`;
  made.style.height = `${100 * (bottom - top)}%`;
  return made;
}
