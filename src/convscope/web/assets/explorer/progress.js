// What goes on in the background, in plain words: the line at the top of the page.
import { find, say } from "../shared/dom.js";
import { thousands } from "../shared/words.js";

const WORDS = { survey: "looking at all images", predictions: "asking the network about the images" };
const unfinished = new Map();

/** Show how far something has come; of several things that go on, the last that moved. */
export function showProgress(told) {
  const { what, done, total } = told;
  for (const each of [...unfinished.keys()]) if (each === what || (done === total && each.startsWith(what))) unfinished.delete(each);
  if (total > 0 && done < total) unfinished.set(what, told);
  const last = [...unfinished.values()].at(-1);
  const bar = find("work-bar");
  bar.hidden = !last;
  if (last) {
    bar.max = last.total;
    bar.value = last.done;
  }
  say(find("work"), last ? said(last) : "");
}

/** How far something has come, such as "survey"; empty where it is not going on. */
export function progressOf(what) {
  return unfinished.has(what) ? said(unfinished.get(what)) : "";
}

function said({ what, done, total }) {
  return `${WORDS[what] ?? what}: ${thousands(done)} of ${thousands(total)}`;
}
