// The images: browsed by split, class and mistake, page by page; one's own are dropped here.
import { element, say, sayOrHide } from "../shared/dom.js";
import { ask } from "../shared/server.js";
import { many, percent, thousands } from "../shared/words.js";
import { api, places } from "./addresses.js";
import { classChoice } from "./class_choice.js";
import { choiceOf, field } from "./controls.js";
import { walkTiles } from "./keys.js";
import { Loader } from "./loader.js";
import { imageTile } from "./tiles.js";
import { dropZone } from "./uploads.js";

const PAGE = 60;
const SPLITS = { test: "test", train: "training", folder: "folder", uploaded: "uploaded" };

export function openImages({ network, goTo }, route) {
  let loader = new Loader();
  let query = route.query;
  let asked = 0;
  let seen = ""; // what is shown
  const turn = (changes) => goTo(places.images({ ...query, offset: null, ...changes }));
  const splits = choiceOf("Which images", [], (value) => turn({ split: value, class: null, mistakes: null }));
  const classes = classChoice(network.classes, "all classes", (value) => turn({ class: value }));
  const mistakes = element("input", { type: "checkbox", onchange: () => turn({ mistakes: mistakes.checked ? 1 : null }) });
  const count = element("p", { class: "note", role: "status" });
  const trouble = element("p", { class: "trouble", role: "alert", hidden: true });
  const grid = element("div", { class: "grid images" });
  const pages = element("nav", { class: "pages", "aria-label": "Pages" });
  const mistakesOnly = element("label", { class: "field" }, mistakes, element("span", {}, "mistakes only"));
  const tools = element("div", { class: "tools", role: "toolbar", "aria-label": "Which images" }, splits.node, field("Class", classes.node), mistakesOnly, count);
  const node = element("article", { class: "images" }, element("header", { class: "view-top" }, element("h2", {}, "Images")), dropZone(goTo), tools, trouble, grid, pages);
  walkTiles(grid);

  async function draw() {
    const mine = ++asked;
    const offset = Number(query.offset ?? 0);
    grid.setAttribute("aria-busy", "true");
    let told;
    try {
      told = await ask(api.images({ split: query.split, class: query.class, mistakes: query.mistakes, offset, count: PAGE }));
    } catch (error) {
      if (mine !== asked) return;
      seen = "";
      grid.replaceChildren();
      pages.replaceChildren();
      sayOrHide(trouble, error.message);
      return;
    }
    if (mine !== asked) return;
    sayOrHide(trouble, "");
    const now = JSON.stringify([told, query]);
    if (now !== seen) show(told, offset);
    seen = now;
    if (told.waiting) setTimeout(() => mine === asked && draw(), 1500);
  }

  function show({ total, images }, offset) {
    const there = Object.keys(network.splits);
    const shown = query.split ?? there[0];
    const choices = there.includes("uploaded") ? there : [...there, "uploaded"];
    splits.set(
      choices.map((each) => [each, SPLITS[each] ?? each]),
      shown,
    );
    classes.set(query.class ?? "");
    mistakes.checked = Boolean(query.mistakes);
    const labelled = shown === "test" || shown === "train";
    classes.node.closest("label").hidden = !labelled || !network.classes.length;
    mistakesOnly.hidden = !labelled;
    loader.close();
    loader = new Loader();
    grid.removeAttribute("aria-busy");
    grid.replaceChildren(...images.map((each) => tileOf(each)));
    if (!images.length) grid.append(element("p", { class: "empty" }, emptyWords(shown)));
    const last = offset + images.length;
    say(count, total ? `${thousands(offset + 1)}–${thousands(last)} of ${many(total, "image")}` : "");
    const link = (words, rel, start) => element("a", { rel, class: "button", href: places.images({ ...query, offset: start || null }) }, words);
    pages.replaceChildren(
      ...[offset > 0 ? link("‹ before", "prev", Math.max(0, offset - PAGE)) : null, last < total ? link("after ›", "next", last) : null].filter(Boolean),
    );
  }

  function tileOf({ id, label, predicted, probability, name }) {
    const wrong = label != null && predicted != null && predicted !== label;
    const said = network.classes[predicted];
    const caption = said == null ? (name ?? "") : wrong ? `${network.classes[label]} → ${said}` : said;
    const title = predicted == null ? name : `${caption}, ${percent(probability)} sure`;
    return imageTile(loader, { id, caption, wrong, title });
  }

  draw();
  return {
    node,
    title: "Images",
    update(next) {
      query = next.query;
      draw();
    },
    close() {
      asked += 1;
      loader.close();
    },
  };
}

function emptyWords(split) {
  if (split === "uploaded") return "Nothing is here yet: drop an image above.";
  return "No image is like this. Choose fewer conditions.";
}
