// What in the image speaks for a class, laid over it as far as one wants.
import { element, say } from "../shared/dom.js";
import { tail, api } from "./addresses.js";
import { field, selectOf } from "./controls.js";
import { Picture } from "./picture.js";

/** Controls for the overlay of a picture: {node, setPredicted(name), close()}. */
export function startAttribution(network, id, place) {
  const picture = new Picture("", "attribution", { waiting: "" });
  picture.node.classList.add("overlay");
  picture.node.hidden = true;
  place.append(picture.node);
  const methods = Object.keys(network.attributions).map((each) => [each, each.replaceAll("-", " ")]);
  const method = selectOf([["", "none"], ...methods], draw);
  const target = selectOf([["", "the predicted class"], ...network.classes.map((each, number) => [String(number), each])], draw);
  const opacity = element("input", { type: "range", min: "0", max: "100", value: "80", "aria-label": "Opacity of the attribution" });
  const words = element("p", { class: "note", role: "status" });
  opacity.addEventListener("input", fade);
  const node = element("div", { class: "attribution" }, field("Attribution", method.node), field("for", target.node), field("opacity", opacity), words);
  let asked = 0;

  function fade() {
    picture.node.style.opacity = opacity.value / 100;
  }

  async function draw() {
    const mine = ++asked;
    const chosen = method.node.value;
    picture.node.hidden = !chosen;
    for (const part of [target.node, opacity]) part.parentElement.hidden = !chosen;
    if (!chosen) {
      picture.clear();
      say(words, "");
      return;
    }
    say(words, "computing …");
    const address = api.image(id, `/attributions/${encodeURIComponent(chosen)}.png${tail({ class: target.node.value })}`);
    const failure = await picture.change(address).then(() => null, (error) => error);
    if (mine !== asked) return;
    say(words, failure?.message ?? `${network.attributions[chosen]}. The stronger, the more it covers.`);
    picture.node.dataset.method = chosen;
  }

  fade();
  draw();
  return {
    node,
    setPredicted: (name) => (target.node.options[0].textContent = name ? `the predicted class, ${name}` : "the predicted class"),
    close() {
      asked += 1;
      picture.clear();
    },
  };
}
