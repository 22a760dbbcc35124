// What changes the answer: the channels without which the network would judge this image otherwise.
import { element } from "../shared/dom.js";
import { ask } from "../shared/server.js";
import { change, percent } from "../shared/words.js";
import { api, places } from "./addresses.js";
import { barList } from "./bars.js";
import { failed, waiting } from "./controls.js";
import { breakable, nameOf } from "./tiles.js";

/** {node, load}: the list for an image, which `load` asks for. */
export function decisiveList(network, id, layerOf) {
  const node = element("div", {}, waiting("Removing channels one by one …"));
  const load = async () => {
    try {
      const told = await ask(api.image(id, "/decisive"));
      if (told.waiting) return false;
      node.replaceChildren(...drawn(network, told, layerOf));
    } catch (error) {
      node.replaceChildren(failed(error));
    }
    return true;
  };
  return { node, load };
}

function drawn(network, { removed, predicted, probability }, layerOf) {
  const called = (number) => network.classes[number] ?? `class ${number}`;
  const rows = removed.map(({ layer, channel, change: by, probability: after, predicted: then }) => {
    const turned = predicted != null && then != null && then !== predicted;
    return {
      name: breakable(nameOf(layerOf, layer, channel)),
      href: places.channel(layer, channel),
      value: by,
      said: turned ? `${change(by)} → ${called(then)}` : `${change(by)} (${percent(after)})`,
      strong: turned,
    };
  });
  const before = predicted == null ? "" : ` With all channels: ${called(predicted)}, ${percent(probability)}.`;
  const words = `How the score of the answer moves without each channel, and its probability then; in bold where the answer changes.${before}`;
  return [element("p", { class: "note" }, words), barList(rows, { signed: true })];
}
