// A picture with what belongs to it: a caption, the file to keep, and the command that draws it again.
import { element, say, sayOrHide } from "../shared/dom.js";
import { Picture } from "./picture.js";

const COPY = "copy command";

/** {node, picture, setCommand(text)}: a figure of the picture at an address, not yet loaded. */
export function figureOf(address, alternative, { caption = null, command = null, waiting, standIns, file = address } = {}) {
  const picture = new Picture(address, alternative, { waiting, standIns });
  const words = element("p", { class: "note" }, caption);
  sayOrHide(words, caption);
  const save = element("a", { download: true, href: withDownload(file), class: "small" }, "download");
  const copy = element("button", { type: "button", class: "small quiet" }, COPY);
  const typed = element("input", { class: "command", readonly: true, hidden: true, "aria-label": "The command that draws this picture again" });
  const keep = element("span", { class: "keep" }, save, copy, typed);
  const node = element("figure", { class: "kept" }, picture.node, element("figcaption", {}, words, keep));
  let line = command;
  copy.hidden = !line;
  copy.title = line ?? "";
  copy.addEventListener("click", () => copyText(line, copy, typed));
  return {
    node,
    picture,
    keep,
    setCommand(text) {
      line = text;
      copy.hidden = !text;
      typed.hidden = true;
      copy.title = text ?? "";
    },
    setCaption: (text) => sayOrHide(words, text),
    change(next) {
      save.href = withDownload(next);
      return picture.change(next);
    },
  };
}

function withDownload(address) {
  return `${address}${address.includes("?") ? "&" : "?"}download=1`;
}

/** Copies a text; where the clipboard is forbidden, shows it selected, to be copied by hand. */
async function copyText(text, button, typed) {
  try {
    await navigator.clipboard.writeText(text);
    say(button, "copied");
    setTimeout(() => say(button, COPY), 1500);
  } catch {
    typed.value = text;
    typed.hidden = false;
    typed.select();
  }
}
