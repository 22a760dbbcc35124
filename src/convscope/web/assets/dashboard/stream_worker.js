// The one connection of all pages of this browser: HTTP/1.1 allows six to an address, however many tabs are open.
import { openStream } from "./event_stream.js";

const pages = new Set();
const newest = { state: null, runs: null }; // what a page that comes later has to know
let close = null;

const tell = (kind, data) => {
  if (kind in newest) newest[kind] = data;
  for (const page of pages) page.postMessage({ kind, data });
};

self.addEventListener("connect", ({ ports: [page] }) => {
  page.addEventListener("message", () => {
    // the page is closing
    pages.delete(page);
    if (pages.size) return;
    close?.();
    close = null;
    newest.state = newest.runs = null;
  });
  page.start();
  pages.add(page);
  close ??= openStream(tell);
  for (const [kind, data] of Object.entries(newest)) {
    if (data) page.postMessage({ kind, data: kind === "state" ? { ...data, anew: false } : data });
  }
});
