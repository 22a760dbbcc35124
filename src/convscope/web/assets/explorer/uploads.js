// One's own images: dropped anywhere on the page, or chosen, and sent to the server on this machine.
import { element, say } from "../shared/dom.js";
import { send } from "../shared/server.js";
import { places } from "./addresses.js";

/** A place to drop an image, or to choose one. */
export function dropZone(goTo) {
  const input = element("input", { type: "file", accept: "image/*", class: "hidden", id: "upload" });
  const words = element("span", { role: "status" }, "Drop an image here, or anywhere on the page");
  input.addEventListener("change", () => upload(input.files[0], goTo, (text) => say(words, text)));
  const button = element("label", { class: "button", for: "upload" }, "choose a file");
  return element("div", { class: "drop" }, input, words, button);
}

/** Lets images be dropped anywhere on the page. */
export function acceptDrops(goTo, tell) {
  const { body } = document;
  addEventListener("dragover", (event) => {
    if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
    event.preventDefault();
    body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    body.classList.remove("dropping");
    const [file] = event.dataTransfer?.files ?? [];
    if (!file) return;
    event.preventDefault();
    upload(file, goTo, tell);
  });
}

async function upload(file, goTo, tell) {
  if (!file) return;
  tell(`Sending ${file.name} …`);
  try {
    const { id } = await send("/api/images", file);
    tell("");
    goTo(places.image(id));
  } catch (error) {
    tell(`${file.name}: ${error.message}`);
  }
}
