// A picture with what belongs to it: a caption, the file to keep, and the command that draws it again.
import { element, sayOrHide } from "../shared/dom.js";
import { Picture } from "./picture.js";

/** {node, picture, setCommand(text)}: a figure of the picture at an address, not yet loaded. */
export function figureOf(address, alternative, { caption = null, command = null, waiting } = {}) {
  const picture = new Picture(address, alternative, { waiting });
  const words = element("p", { class: "note" }, caption);
  sayOrHide(words, caption);
  const save = element("a", { download: true, href: withDownload(address), class: "small" }, "download");
  const copy = element("button", { type: "button", class: "small quiet" }, "copy command");
  const keep = element("span", { class: "keep" }, save, copy);
  const node = element("figure", { class: "kept" }, picture.node, element("figcaption", {}, words, keep));
  let line = command;
  copy.hidden = !line;
  copy.addEventListener("click", () => copyText(copy, line));
  return {
    node,
    picture,
    keep,
    setCommand(text) {
      line = text;
      copy.hidden = !text;
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

async function copyText(button, text) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
  } catch {
    prompt("The command that draws this picture again:", text); // the clipboard is forbidden here
  }
  setTimeout(() => (button.textContent = before), 1500);
}
