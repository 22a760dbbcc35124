// What the server tells by itself: what it is working on, and what it has drawn.

const PATIENCE = 1500; // milliseconds until the next try where the browser gives up

/** Calls hear.progress, hear.drawn and hear.state(connected); a page that nobody sees holds no connection. */
export function listen(hear) {
  let source = null;
  let timer = 0;
  const open = () => {
    clearTimeout(timer);
    if (source || document.hidden) return;
    source = new EventSource("/api/stream");
    source.addEventListener("open", () => hear.state(true));
    source.addEventListener("progress", (event) => hear.progress(JSON.parse(event.data)));
    source.addEventListener("drawn", (event) => hear.drawn(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      hear.state(false);
      if (source?.readyState !== EventSource.CLOSED) return;
      source = null;
      timer = setTimeout(open, PATIENCE);
    });
  };
  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
}
