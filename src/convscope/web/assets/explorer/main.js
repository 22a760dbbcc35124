// The explorer: asks what the network is, then opens the view that the address names.
import { element, find, sayOrHide } from "../shared/dom.js";
import { ask } from "../shared/server.js";
import { startTheme } from "../shared/theme.js";
import { places } from "./addresses.js";
import { openChannel } from "./channel_view.js";
import { openClass } from "./class_view.js";
import { openImage } from "./image_view.js";
import { openImages } from "./images_view.js";
import { listenToKeys } from "./keys.js";
import { openLayer } from "./layer_view.js";
import { openEarly, openNetwork } from "./network_view.js";
import { showProgress } from "./progress.js";
import { Router } from "./router.js";
import { listen } from "./stream.js";
import { acceptDrops } from "./uploads.js";

const SIZES = { small: 64, tile: 96, medium: 192, large: 288 }; // pixels on the screen

const goTo = (hash) => (location.hash = hash);
const router = new Router(viewOf, show);
const context = { goTo, replace: (hash) => router.replace(hash) }; // what every view is given, with the network and its layers by name
let shown = null;
let opened = "";
let wentBack = false;
let above = []; // the addresses of the views that the open one lies in
const positions = new Map();
const left = new Map(); // by view, the link that was opened last

async function start() {
  const whole = ask("/api/network");
  whole.catch(() => {}); // until it is waited for
  const early = await ask("/api/early").catch(() => ({}));
  try {
    if (early.name != null) use(early);
  } catch {
    // what was kept in the run's folder has been changed: the network itself is on its way
  }
  let network;
  try {
    network = await whole;
  } catch (error) {
    const refusal = "The server does not know this page: open the address that convscope explore printed.";
    find("main").replaceChildren();
    sayOrHide(find("trouble"), error.status === 403 ? refusal : error.message);
    return;
  }
  if (JSON.stringify(network) !== JSON.stringify(early)) use(network);
  listenToKeys(goTo);
  acceptDrops(goTo, (words) => sayOrHide(find("trouble"), words));
  listen({
    progress: (told) => {
      showProgress(told);
      shown?.progress?.(told);
    },
    drawn: (told) => shown?.drawn?.(told),
    state: (connected) => sayOrHide(find("connection"), connected ? "" : "the server does not answer"),
  });
}

/** Shows this network: first as it was left or as its run's record has it, then as it is. */
function use(network) {
  const layers = new Map(network.layers.map((layer) => [layer.name, layer]));
  for (const layer of network.layers) if (layer.alias && !layers.has(layer.alias)) layers.set(layer.alias, layer);
  Object.assign(context, { network, layerOf: (name) => layers.get(name) });
  find("classes-link").hidden = !network.classes.length;
  setSizes(network.input_size[1]);
  history.scrollRestoration = "manual";
  router.open();
}

/** Shows images in whole multiples of their pixels, as near to these sizes as that goes, so that all are equally large. */
function setSizes(across) {
  const style = document.documentElement.style;
  for (const [name, wanted] of Object.entries(SIZES)) {
    style.setProperty(`--${name}`, `${across < wanted ? across * Math.round(wanted / across) : wanted}px`);
  }
}

/** The view that an address names: {name, key, open, crumbs}. */
function viewOf(route) {
  const [what, name, , number] = route.parts;
  const layer = (crumb) => [crumb, places.layer(name)];
  const { network } = context;
  const root = [network.name, places.network()];
  if (network.opening) return { tab: "network", key: "opening", crumbs: [root], open: () => openEarly(context) };
  if (what === "layer" && number != null) {
    return { tab: "network", key: `channel ${name} ${number}`, crumbs: [root, layer(name), `channel ${number}`], open: (given) => openChannel(context, given) };
  }
  if (what === "layer" && name) return { tab: "network", key: `layer ${name}`, crumbs: [root, name], open: (given) => openLayer(context, given) };
  if (what === "images") return { tab: "images", key: "images", crumbs: [root, "images"], open: (given) => openImages(context, given) };
  if (what === "image" && name) return { tab: "images", key: `image ${name}`, crumbs: [root, ["images", places.images()], name.startsWith("upload-") ? "uploaded image" : name], open: (given) => openImage(context, given) };
  if (what === "class") return { tab: "classes", key: `class ${name ?? 0}`, crumbs: [root, network.classes[name ?? 0] ?? "class"], open: (given) => openClass(context, given) };
  return { tab: "network", key: "network", crumbs: [root], open: () => openNetwork(context) };
}

function show(view, { key, tab, crumbs }) {
  const main = find("main");
  if (shown !== view) {
    positions.set(opened, scrollY);
    main.replaceChildren(view.node);
    shown = view;
  }
  if (opened !== key) {
    const returned = wentBack || above.includes(location.hash);
    scrollTo(0, wentBack ? (positions.get(key) ?? 0) : 0);
    if (opened) focusOn(main, returned ? left.get(key) : null);
  }
  opened = key;
  above = crumbs.map((crumb) => crumb[1]);
  document.title = `${view.title} · convscope`;
  for (const link of document.querySelectorAll("#tabs a")) {
    if (link.dataset.tab === tab) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const parts = crumbs.map((crumb, place) => {
    const [words, href] = typeof crumb === "string" ? [crumb] : crumb;
    const last = place === crumbs.length - 1;
    const rel = place === crumbs.length - 2 ? "up" : null;
    return element("li", {}, href && !last ? element("a", { href, rel }, words) : element("span", { "aria-current": "location" }, words));
  });
  find("crumbs").replaceChildren(...parts);
}

/** Goes on with the keyboard where it was left: at the link that was opened, as soon as it is there, or at the view's beginning. */
function focusOn(main, href) {
  main.focus({ preventScroll: true });
  if (!href) return;
  const look = () => {
    const link = [...main.querySelectorAll("a[href]")].find((each) => each.getAttribute("href") === href);
    if (!link || document.activeElement !== main) return;
    link.scrollIntoView({ block: "nearest" });
    link.focus();
    watch.disconnect();
  };
  const watch = new MutationObserver(() => (document.activeElement === main ? look() : watch.disconnect()));
  watch.observe(main, { childList: true, subtree: true });
  setTimeout(() => watch.disconnect(), 5000);
  look();
}

find("main").addEventListener("click", ({ target }) => {
  const link = target.closest("a.tile, a.door");
  if (link) left.set(opened, link.getAttribute("href"));
});
globalThis.navigation?.addEventListener("navigate", ({ navigationType }) => (wentBack = navigationType === "traverse"));

startTheme(find("theme"), () => {});
start();
