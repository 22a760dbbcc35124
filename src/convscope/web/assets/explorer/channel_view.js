// A channel: all that is known of it, on one page.
import { element, say, sayOrHide } from "../shared/dom.js";
import { ask } from "../shared/server.js";
import { change, figure, many, percent, thousands } from "../shared/words.js";
import { api, places, tail } from "./addresses.js";
import { barList } from "./bars.js";
import { choiceOf, failed, section, waiting } from "./controls.js";
import { figureOf } from "./figure.js";
import { filmSection } from "./film.js";
import { histogram } from "./histogram.js";
import { walkTiles } from "./keys.js";
import { Loader } from "./loader.js";
import { progressOf } from "./progress.js";
import { breakable, channelTile, imageTile, isSearched, keyOf, nameOf, standInsFor } from "./tiles.js";

const BEST_RULE = "guided"; // networks that stride instead of pooling need it
const AGAIN = 2500; // milliseconds until the numbers that are being measured are asked for again
const UNMEASURED = "There are no images, so what it answers to in them is not known: open the network with --images FOLDER.";
const NUMBERS = [
  ["maximum", "highest value", figure, "over all training images and positions"],
  ["mean", "mean value", figure, "over all training images and positions"],
  ["share_active", "above zero", percent, "the share of all positions in all images"],
  ["selectivity", "selectivity", figure, "0: excited alike by all classes; 1: by one alone (Morcos et al. 2018)"],
  ["likeness", "nearest twin", figure, "the correlation with the channel of this layer that is most like it"],
  ["pattern_activation", "pattern's value", figure, "what the pattern excites it to"],
  ["pattern_ratio", "pattern to best image", (ratio) => `${figure(ratio)} ×`, "the pattern's value, by the highest over the images"],
];

export function openChannel({ network, layerOf }, route) {
  const [, layer, , text] = route.parts;
  const channel = Number(text);
  const known = layerOf(layer);
  const loader = new Loader();
  const badges = element("p", { class: "badges" });
  const numbers = element("dl", { class: "facts" });
  const values = element("div", {});
  const trouble = element("p", { class: "trouble", role: "alert", hidden: true });
  const pattern = figureOf(api.channel(layer, channel, "/pattern.png"), `what channel ${channel} of ${layer} answers to most`, {
    waiting: "drawing the pattern …",
    standIns: standInsFor(network, layer, channel),
  });
  loader.add(pattern.node, () => pattern.picture.load(), keyOf(layer, channel));
  const sections = element("div", { class: "sections" }, waiting("Looking at the channel …"));
  const node = element(
    "article",
    { class: "channel" },
    element(
      "header",
      { class: "view-top" },
      element("h2", {}, element("a", { href: places.layer(layer), rel: "up" }, known?.alias ?? layer), ` · channel ${channel}`),
      badges,
      beside(layer, channel, known?.channels),
    ),
    trouble,
    element("div", { class: "channel-top" }, section("Pattern", pattern.node), element("div", { class: "beside" }, numbers, values)),
    sections,
  );
  const isMeasured = isSearched(network);
  let closed = false;
  let timer = 0;
  let shown = "";
  const awaiting = waiting("");

  async function fetchAll() {
    clearTimeout(timer);
    let told;
    try {
      told = await ask(api.channel(layer, channel));
    } catch (error) {
      if (closed) return;
      sections.replaceChildren();
      sayOrHide(trouble, error.message);
      return;
    }
    if (closed) return;
    show(told);
    if (isMeasured && !told.top) timer = setTimeout(fetchAll, AGAIN);
  }

  function show(told) {
    if (JSON.stringify(told) === shown) return;
    shown = JSON.stringify(told);
    const commands = told.commands;
    pattern.setCommand(commands.pattern);
    badges.replaceChildren(...told.badges.map(badgeOf));
    showNumbers(told.numbers);
    const awaited = isMeasured ? awaiting : element("p", { class: "note" }, UNMEASURED);
    values.replaceChildren(distribution(told) ?? awaited);
    sections.replaceChildren(
      ...[
        topPatches(told, commands),
        variants(commands),
        classes(told),
        network.dataset ? ablation() : null,
        connections(told),
        commands.film ? filmSection(layer, channel, commands.film, loader) : null,
      ].filter(Boolean),
    );
    if (!told.top) sayProgress();
  }

  function sayProgress() {
    const far = progressOf("survey");
    say(awaiting, `The numbers and top images come by themselves, once all images are looked at${far ? ` (${far})` : ""} …`);
  }

  function showNumbers(told) {
    const rows = NUMBERS.filter(([name]) => told[name] != null).map(([name, what, said, why]) => [what, said(told[name]), why]);
    const likes = network.dataset && network.classes[told.favourite];
    if (likes != null && !told.dead) rows.unshift(["favourite class", likes, "the class whose images excite it most, in the mean"]);
    numbers.replaceChildren(
      ...rows.map(([what, said, why]) => element("div", { title: why }, element("dt", {}, what), element("dd", {}, said))),
    );
  }

  function lazyFigure(address, alternative, options) {
    const made = figureOf(address, alternative, options);
    loader.add(made.node, () => made.picture.load());
    return made;
  }

  function variants(commands) {
    const made = lazyFigure(api.channel(layer, channel, "/variants.png"), `other patterns that channel ${channel} answers to`, {
      caption: "Other starts, drawn to differ from one another: what they share is what the channel answers to.",
      command: commands.variants,
      waiting: "drawing the variants …",
    });
    made.node.classList.add("wide");
    return section("Variants", made.node);
  }

  function topPatches(told, commands) {
    if (!told.top?.length) return null;
    const address = (rule) => api.channel(layer, channel, `/top.png${tail({ rule })}`);
    const best = network.rules.includes(BEST_RULE) ? BEST_RULE : network.rules[0];
    const made = lazyFigure(address(best), "the nine patches that excite the channel most, each above what the channel saw in it", {
      caption: "The patches that excite it most; below each, what in it the channel answered to (grey is nothing).",
      command: `${commands.top} --rule ${best}`,
      waiting: "reconstructing …",
    });
    made.node.classList.add("wide");
    const turn = (value) => {
      made.setCommand(`${commands.top} --rule ${value}`);
      made.change(address(value)).catch(() => {});
    };
    const rule = choiceOf("Rule", network.rules.map((each) => [each, each]), turn, best);
    const tiles = element("div", { class: "grid images" });
    for (const { id, value, label, box, position } of told.top) {
      const title = `${network.classes[label] ?? "image"}, value ${figure(value)}`;
      const unit = [channel, ...position].join(",");
      tiles.append(imageTile(loader, { id, caption: figure(value), box: shares(box, network), title, place: [layer, { unit }] }));
    }
    walkTiles(tiles);
    const whole = element("div", {}, element("p", { class: "note" }, "The same images whole, with the part that it sees."), tiles);
    const both = section("Top images", element("div", { class: "tools" }, rule.node), element("div", { class: "tops" }, made.node, whole));
    both.classList.add("full");
    return both;
  }

  function distribution({ histogram: told }) {
    if (!told) return null;
    const note = element("p", { class: "note" }, "How many images reach which highest value; heights on a root scale, so that rare ones can be seen.");
    return section("Over the images", histogram(told), note);
  }

  function classes({ classes: rows }) {
    if (!rows?.length) return null;
    const bars = rows.map(([name, mean], number) => ({ name, value: mean, said: figure(mean), number }));
    const sorted = bars.toSorted((one, other) => other.value - one.value).slice(0, 20);
    const list = sorted.map((row, place) => ({ ...row, href: places.class(row.number), strong: place === 0 }));
    return section("Classes", element("p", { class: "note" }, "Its mean value above zero on the images of each class."), barList(list));
  }

  function connections({ incoming, outgoing, notes }) {
    const part = (heading, rows, words) =>
      rows?.length ? element("div", {}, element("h4", {}, heading), element("p", { class: "note" }, words), strip(rows)) : null;
    const parts = [
      part("Reads most from", incoming, "The channels that weigh most in it, and how much: blue excites it, orange inhibits it."),
      part("Writes most to", outgoing, "The channels in which it weighs most: blue where it excites, orange where it inhibits."),
    ].filter(Boolean);
    const said = (notes ?? []).map((note) => element("p", { class: "note" }, note));
    if (!parts.length && !said.length) return null;
    const both = section("Connections", element("div", { class: "connections" }, ...parts), ...said);
    both.classList.add("full");
    return both;
  }

  function strip(rows) {
    const grid = element("div", { class: "grid channels strip" });
    for (const { layer: other, page, channel: number, strength, balance } of rows) {
      if (page == null) {
        grid.append(element("span", { class: "tile none" }, `${other == null ? "input channel" : `${breakable(other)} ·`} ${number}`));
        continue;
      }
      const sign = balance > 0.2 ? "excites" : balance < -0.2 ? "inhibits" : "mixed";
      const tile = channelTile(loader, network, { layer: page, channel: number, label: breakable(nameOf(layerOf, page, number)), note: `${{ excites: "+", inhibits: "−", mixed: "±" }[sign]}${figure(strength)}` });
      tile.node.title = `${other}, channel ${number}\nstrength ${figure(strength)}, ${sign} (balance ${change(balance ?? 0)})`;
      tile.node.classList.add(sign);
      grid.append(tile.node);
    }
    walkTiles(grid);
    return grid;
  }

  function ablation() {
    const place = element("div", {}, waiting("Asking the network without it …"));
    const made = section("Without it", place);
    loader.add(place, async () => {
      try {
        const told = await ask(api.channel(layer, channel, "/ablation"));
        if (told.waiting) return false;
        place.replaceChildren(...ablationBars(told));
      } catch (error) {
        place.replaceChildren(failed(error));
      }
      return true;
    });
    return made;
  }

  function ablationBars({ classes: names, accuracy, accuracy_before: before, images, of }) {
    const rows = (names ?? network.classes).map((name, number) => ({
      name,
      href: places.class(number),
      value: accuracy[number] - before[number],
      said: `${percent(before[number])} → ${percent(accuracy[number])}`,
    }));
    const moved = rows.toSorted((one, other) => Math.abs(other.value) - Math.abs(one.value)).slice(0, 20);
    const over = images < of ? `a sample of ${thousands(images)} of ${thousands(of)} test images` : many(images, "test image");
    const words = `How the accuracy on each class changes with the channel set to zero, over ${over}.`;
    return [element("p", { class: "note" }, words), barList(moved, { signed: true, top: Math.max(0.05, ...rows.map(({ value }) => Math.abs(value))) })];
  }

  fetchAll();
  return {
    node,
    title: nameOf(layerOf, layer, channel),
    drawn: ({ layer: which, channel: drawn }) => loader.again(keyOf(which, drawn)),
    progress({ what, done, total }) {
      if (what !== "survey" || !awaiting.isConnected) return;
      sayProgress();
      if (done === total) fetchAll();
    },
    close() {
      closed = true;
      clearTimeout(timer);
      loader.close();
    },
  };
}

function badgeOf(words) {
  return element("span", { class: /^(dead|duplicate)/.test(words) ? "badge warns" : "badge" }, words);
}

/** A box of rows and columns [top, left, bottom, right] in pixels as shares of the image, cut at its border. */
function shares([top, left, bottom, right], { input_size: [height, width] }) {
  return [left / width, top / height, right / width, bottom / height].map((share) => Math.min(1, Math.max(0, share)));
}

function beside(layer, channel, channels) {
  const link = (number, rel, words) => element("a", { rel, href: places.channel(layer, number) }, words);
  return element(
    "nav",
    { class: "neighbours", "aria-label": "Channels beside" },
    channel > 0 ? link(channel - 1, "prev", `‹ ${channel - 1}`) : null,
    channels == null || channel + 1 < channels ? link(channel + 1, "next", `${channel + 1} ›`) : null,
  );
}
