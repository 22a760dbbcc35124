// How a channel formed: its pattern at steps of the training, to play or to go through by hand.
import { element, say } from "../shared/dom.js";
import { ask, askPicture } from "../shared/server.js";
import { epochs, thousands } from "../shared/words.js";
import { api } from "./addresses.js";
import { failed, section, waiting } from "./controls.js";
import { figureOf } from "./figure.js";

const FRAME = 350; // milliseconds; nothing moves before a person wants it
const HOLD = 1500; // and so long the last one stands

/** The part of a channel's page that shows its film, once it is seen. */
export function filmSection(layer, channel, command, loader) {
  const place = element("div", {}, waiting("Drawing the pattern at steps of the training …"));
  const made = section("How it formed", place);
  loader.add(place, async () => {
    let told;
    try {
      told = await ask(api.channel(layer, channel, "/film"));
    } catch (error) {
      place.replaceChildren(failed(error));
      return true;
    }
    if (told.waiting) {
      const far = told.total ? `: ${thousands(told.drawn)} of ${thousands(told.total)}` : "";
      await askPicture(api.channel(layer, channel, "/film.png")); // asking for it begins the drawing
      place.replaceChildren(waiting(`Drawing the pattern at steps of the training${far} …`));
      return false;
    }
    place.replaceChildren(await player(layer, channel, told, command));
    return true;
  });
  return made;
}

async function player(layer, channel, told, command) {
  const { steps } = told;
  const made = figureOf(api.channel(layer, channel, "/film.png"), `channel ${channel} of ${layer} at steps of the training`, {
    command: told.command ?? command,
    file: api.channel(layer, channel, "/film.webp"),
    waiting: "drawing the film …",
  });
  made.picture.node.classList.add("strip-of-frames");
  const words = element("span", { class: "note", role: "status" });
  const slider = element("input", { type: "range", min: "0", max: String(steps.length - 1), "aria-label": "Step of the training" });
  const play = element("button", { type: "button", class: "small" }, "play");
  let timer = 0;

  function show(frame) {
    slider.value = frame;
    const said = saidFrame(told, frame);
    slider.setAttribute("aria-valuetext", said);
    say(words, said);
    made.picture.image.style.translate = `${(-100 * frame) / steps.length}%`;
  }

  function turn(on) {
    clearTimeout(timer);
    say(play, on ? "pause" : "play");
    play.setAttribute("aria-pressed", on ? "true" : "false");
    if (!on) return;
    const next = () => {
      if (!play.isConnected) return;
      const frame = (Number(slider.value) + 1) % steps.length;
      show(frame);
      timer = setTimeout(next, frame === steps.length - 1 ? HOLD : FRAME);
    };
    next();
  }

  play.addEventListener("click", () => turn(play.getAttribute("aria-pressed") !== "true"));
  slider.addEventListener("input", () => {
    turn(false);
    show(Number(slider.value));
  });
  made.picture.image.style.width = `${100 * steps.length}%`;
  made.node.prepend(element("div", { class: "film-tools" }, play, slider, words));
  await made.picture.load().catch(() => {});
  turn(false);
  show(steps.length - 1);
  return made.node;
}

function saidFrame({ steps, epochs: at, phases, values }, frame) {
  const parts = [`step ${thousands(steps[frame])}`];
  if (at?.[frame] != null) parts.push(`epoch ${epochs(at[frame])}`);
  if (phases?.[frame]) parts.push(phases[frame]);
  if (values?.[frame] != null) parts.push(`value ${values[frame].toFixed(2)}`);
  return parts.join(", ");
}
