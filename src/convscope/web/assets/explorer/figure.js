// A picture with what belongs to it: a caption, the file to keep, and the command that draws it again.
import { element, sayOrHide } from "../shared/dom.js";
import { keepOf } from "./keep.js";
import { Picture } from "./picture.js";

/** {node, picture, setCommand(text), change(address)}: a figure of the picture at an address, not yet loaded; `file` is
 * the address of what is to be kept, where that is another.
 */
export function figureOf(address, alternative, { caption = null, command = null, waiting, standIns, file = address } = {}) {
  const picture = new Picture(address, alternative, { waiting, standIns });
  const words = element("p", { class: "note" });
  sayOrHide(words, caption);
  const keep = keepOf(file, command);
  const node = element("figure", { class: "kept" }, picture.node, element("figcaption", {}, words, keep.node));
  return {
    node,
    picture,
    keep: keep.node,
    setCommand: keep.setCommand,
    change(next) {
      keep.setFile(next);
      return picture.change(next);
    },
  };
}
