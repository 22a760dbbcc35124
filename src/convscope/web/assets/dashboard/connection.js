// The page's end of the stream: through the worker that all tabs share, or its own where there is no such worker.
import { openStream } from "./event_stream.js";

/** Calls hear[kind](data) for each of the stream's events. */
export function connect(hear) {
  if (!globalThis.SharedWorker) {
    openStream((kind, data) => hear[kind](data));
    return;
  }
  let port = null;
  const open = () => {
    const worker = new SharedWorker("/assets/dashboard/stream_worker.js", { type: "module", name: "convscope" });
    worker.addEventListener("error", () => openStream((kind, data) => hear[kind](data)), { once: true });
    port = worker.port;
    port.addEventListener("message", ({ data: { kind, data } }) => hear[kind](data));
    port.start();
  };
  open();
  addEventListener("pagehide", () => port.postMessage("closing"));
  addEventListener("pageshow", (event) => event.persisted && open()); // back from the browser's cache of pages
}
