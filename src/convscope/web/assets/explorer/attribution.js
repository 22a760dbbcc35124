// What in the image speaks for a class, laid over it as far as one wants.
import { element, say } from "../shared/dom.js";
import { ask } from "../shared/server.js";
import { tail, api } from "./addresses.js";
import { classChoice } from "./class_choice.js";
import { field, selectOf } from "./controls.js";
import { keepOf } from "./keep.js";
import { Picture } from "./picture.js";

/** Controls for the overlay of a picture: {node, setPredicted(name), close()}. */
export function startAttribution(network, id, place) {
  const picture = new Picture("", "attribution", { waiting: "" });
  picture.node.classList.add("overlay");
  picture.node.hidden = true;
  place.append(picture.node);
  const methods = Object.keys(network.attributions).map((each) => [each, each.replaceAll("-", " ")]);
  const method = selectOf([["", "none"], ...methods], draw);
  let target = "";
  const targets = classChoice(network.classes, "the predicted class", (value) => {
    target = value;
    draw();
  });
  const opacity = element("input", { type: "range", min: "0", max: "100", value: "80", "aria-label": "Opacity of the attribution" });
  const words = element("p", { class: "note", role: "status" });
  const keep = keepOf();
  opacity.addEventListener("input", fade);
  const node = element("div", { class: "attribution" }, field("Attribution", method.node), field("for", targets.node), field("opacity", opacity), words, keep.node);
  let asked = 0;

  function fade() {
    picture.node.style.opacity = opacity.value / 100;
  }

  async function draw() {
    const mine = ++asked;
    const chosen = method.node.value;
    picture.node.hidden = !chosen;
    for (const part of [targets.node, opacity]) part.parentElement.hidden = !chosen;
    keep.setFile(null);
    keep.setCommand(null);
    if (!chosen) {
      picture.clear();
      say(words, "");
      return;
    }
    say(words, "computing …");
    const address = (ending) => api.image(id, `/attributions/${encodeURIComponent(chosen)}${ending}${tail({ class: target })}`);
    const failure = await picture.change(address(".png")).then(() => null, (error) => error);
    if (mine !== asked) return;
    say(words, failure?.message ?? `${network.attributions[chosen]}. The stronger, the more it covers: red speaks for the class, blue against it.`);
    picture.node.dataset.method = chosen;
    if (failure) return;
    keep.setFile(address(".png"));
    const told = await ask(address("")).catch(() => ({}));
    if (mine === asked) keep.setCommand(told.command);
  }

  fade();
  draw();
  return {
    node,
    setPredicted: (name) => targets.setNone(name ? `the predicted class, ${name}` : "the predicted class"),
    close() {
      asked += 1;
      picture.clear();
    },
  };
}
