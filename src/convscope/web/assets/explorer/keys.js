// The keyboard: arrows go from tile to tile, a few keys open what is always there, and the list of them.
import { element, find, pressedOn } from "../shared/dom.js";

const TYPED_INTO = "input:not([type=radio], [type=checkbox], [type=file]), select, dialog *";
const SHORTCUTS = [
  ["← → ↑ ↓", "from tile to tile; on feature maps, from cell to cell"],
  ["Enter", "open the tile, or the channel of the cell"],
  ["Esc", "up: from a channel to its layer, from a layer to the network"],
  ["[ ]", "the channel, layer or image before and after"],
  ["n i c", "network, images, classes"],
  ["/", "search the channels of a layer"],
  ["t", "theme: system, light or dark"],
  ["?", "this list"],
];

/** Lets the arrow keys walk over the links of a grid, line by line as they stand. */
export function walkTiles(grid) {
  grid.addEventListener("keydown", (event) => {
    const tiles = [...grid.querySelectorAll("a.tile")].filter((tile) => tile.offsetParent);
    const place = tiles.indexOf(event.target.closest("a.tile"));
    if (place < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
    const line = tiles.filter((tile) => tile.offsetTop === tiles[place].offsetTop).length;
    const first = tiles.findIndex((tile) => tile.offsetTop !== tiles[0].offsetTop);
    const width = Math.max(line, first);
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -width, ArrowDown: width, Home: -place, End: tiles.length };
    if (!(event.key in steps)) return;
    event.preventDefault();
    tiles[Math.min(tiles.length - 1, Math.max(0, place + steps[event.key]))].focus();
  });
}

/** Listens to the keys of the whole page; `goTo` opens an address. */
export function listenToKeys(goTo) {
  const rows = SHORTCUTS.flatMap(([keys, does]) => {
    const each = keys.split(" ").flatMap((key) => [element("kbd", {}, key), " "]);
    return [element("dt", {}, ...each), element("dd", {}, does)];
  });
  find("shortcuts").replaceChildren(...rows);
  const does = {
    ArrowRight: () => document.querySelector("main a.tile, main a.door")?.focus(), // from where nothing is chosen yet
    n: () => goTo("#/"),
    i: () => goTo("#/images"),
    c: () => goTo("#/class/0"),
    t: () => find("theme").click(),
    "?": () => find("help").showModal(),
    "/": () => document.querySelector("main input[type=search]")?.focus(),
    "[": () => document.querySelector("a[rel=prev]")?.click(),
    "]": () => document.querySelector("a[rel=next]")?.click(),
    Escape: () => document.querySelector("a[rel=up]")?.click(),
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    const target = pressedOn(event);
    if (target.closest?.(TYPED_INTO) || !Object.hasOwn(does, event.key)) return;
    if (event.key === "ArrowRight" && ![document.body, find("main")].includes(target)) return;
    event.preventDefault();
    does[event.key]();
  });
  find("open-help").addEventListener("click", () => find("help").showModal());
}
