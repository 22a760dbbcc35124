// Which view is open: follows the address, and says it where a view itself changes what it shows.
import { parse } from "./addresses.js";

/** Opens the view of each address; `views` gives for its parts {name, key, open} or null, `show` puts its node in place.
 *
 * A view is {node, title, update?(route), close?()}; it is updated, not opened anew, while its key stays the same.
 */
export class Router {
  #views;
  #show;
  #view = null;
  #key = null;

  constructor(views, show) {
    this.#views = views;
    this.#show = show;
  }

  /** Opens the view of the address, anew where it is open already. */
  open() {
    this.#view?.close?.();
    this.#view = null;
    globalThis.onhashchange = () => this.follow();
    this.follow();
  }

  follow() {
    const route = parse(location.hash);
    const found = this.#views(route);
    if (this.#view?.update && found.key === this.#key) {
      this.#view.update(route);
    } else {
      this.#view?.close?.();
      this.#key = found.key;
      this.#view = found.open(route);
    }
    this.#show(this.#view, found, route);
  }

  /** Puts what the view shows into the address, without a step of its own in the history. */
  replace(hash) {
    if (hash !== location.hash) history.replaceState(null, "", hash);
  }
}
