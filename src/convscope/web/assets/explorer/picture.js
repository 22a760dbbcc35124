// A picture that comes when it can: that it is awaited, that it failed and that it is there can always be seen.
import { element, say } from "../shared/dom.js";
import { askPicture } from "../shared/server.js";

/** A frame for the picture at an address; `load()` gives false where the server has not drawn it yet.
 *
 * Until it has, the first of `standIns`, [{address, what}], that is there already is shown, faintly and by its name.
 */
export class Picture {
  #url = null;
  #image;
  #words = element("span", { class: "words" });
  #asked = 0;
  #standIns;
  #rank; // of the stand-in that is shown: only those before it are better

  constructor(address, alternative, { waiting = "drawing …", standIns = [] } = {}) {
    this.address = address;
    this.waiting = waiting;
    this.#standIns = standIns;
    this.#rank = standIns.length;
    this.#image = element("img", { alt: alternative, draggable: "false", hidden: true });
    this.node = element("span", { class: "picture", "data-state": "asked" }, this.#image, this.#words);
    say(this.#words, waiting);
  }

  get image() {
    return this.#image;
  }

  /** Load what stands at the address now; an older answer that comes late is dropped. */
  async load() {
    const asked = ++this.#asked;
    if (!this.#url) this.#tell("loading", this.waiting);
    let blob;
    try {
      blob = await askPicture(this.address);
    } catch (error) {
      if (asked === this.#asked) this.#fail(error);
      throw error;
    }
    if (asked !== this.#asked) return true;
    if (!blob) {
      if (!this.#url) this.#tell("waiting", this.waiting);
      await this.#standIn(asked);
      return false;
    }
    await this.#show(blob);
    delete this.node.dataset.standIn;
    this.#tell("there", "");
    return true;
  }

  async #standIn(asked) {
    for (const [rank, { address, what }] of this.#standIns.slice(0, this.#rank).entries()) {
      const blob = await askPicture(address).catch(() => null);
      if (asked !== this.#asked) return;
      if (!blob) continue;
      await this.#show(blob);
      this.#rank = rank;
      this.node.dataset.standIn = what;
      this.#tell("waiting", what);
      return;
    }
  }

  /** Show another picture in the same frame; the old one stays until the new one is there. */
  change(address) {
    this.address = address;
    return this.load();
  }

  /** Forget the picture. */
  clear(words = "") {
    this.#asked += 1;
    this.#release();
    this.#rank = this.#standIns.length;
    this.#image.hidden = true;
    this.#tell("asked", words);
  }

  async #show(blob) {
    const before = this.#url;
    this.#url = URL.createObjectURL(blob);
    this.#image.src = this.#url;
    await this.#image.decode().catch(() => {});
    if (before) URL.revokeObjectURL(before);
    this.#image.hidden = false;
    fit(this.#image);
  }

  #fail(error) {
    this.#release();
    this.#image.hidden = true;
    this.#tell("failed", error.message);
  }

  #release() {
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = null;
  }

  #tell(state, words) {
    this.node.dataset.state = state;
    say(this.#words, words);
  }
}

/** Enlarged pixels are sharp squares; only what is shown smaller than it is may be smoothed. */
function fit(image) {
  const shown = image.clientWidth * devicePixelRatio;
  image.classList.toggle("shrunk", shown > 0 && image.naturalWidth > shown * 1.02);
}
