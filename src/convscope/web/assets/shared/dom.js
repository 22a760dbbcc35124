// Making elements. Text only ever goes in as text, so nothing that a run is named can become markup.

/** An element with attributes (`on…`: listeners; false, null: left out) and children (strings become text). */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, name.startsWith("aria-") ? "true" : "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

export const find = (id) => document.getElementById(id);

/** Sets an element's text where it is another, so that a selection in it or a screen reader is not disturbed. */
export function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

/** Says a text and shows its place, or hides it where there is nothing to say. */
export function sayOrHide(place, text) {
  say(place, text ?? "");
  place.hidden = !text;
}

/** Puts the children into a parent in this order, moving only those that stand elsewhere. */
export function arrange(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  children.forEach((child, place) => {
    if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] ?? null);
  });
}

/** What a key is pressed on: not on a button of a dialog that is closed, which keeps the focus until the browser draws. */
export function pressedOn(event) {
  return event.target.closest?.("dialog:not([open])") ? document.body : event.target;
}
