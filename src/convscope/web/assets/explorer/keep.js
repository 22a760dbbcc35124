// What lets a picture be kept: the file, and the command that draws it again.
import { element, say } from "../shared/dom.js";

const COPY = "copy command";

/** {node, setFile(address), setCommand(text)}; what is null is not offered. */
export function keepOf(file = null, command = null) {
  const save = element("a", { download: true, class: "small" }, "download");
  const copy = element("button", { type: "button", class: "small quiet" }, COPY);
  const typed = element("input", { class: "command", readonly: true, hidden: true, "aria-label": "The command that draws this picture again" });
  let line = null;
  copy.addEventListener("click", () => copyText(line, copy, typed));
  const setFile = (address) => {
    save.hidden = !address;
    if (address) save.href = `${address}${address.includes("?") ? "&" : "?"}download=1`;
  };
  const setCommand = (text) => {
    line = text;
    copy.hidden = !text;
    copy.title = text ?? "";
    typed.hidden = true;
  };
  setFile(file);
  setCommand(command);
  return { node: element("span", { class: "keep" }, save, copy, typed), setFile, setCommand };
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
