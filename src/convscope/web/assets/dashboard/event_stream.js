// The server's events over one connection, which is made again whenever it breaks.

const ADDRESS = "/api/stream";
const KINDS = ["runs", "points", "frame"];
const PATIENCE = 1000; // milliseconds until the next try where the browser gives up

/** Calls tell(kind, data) for every event, and tell("state", {connected, since, anew}) when the connection changes.
 *
 * The browser reconnects with the last event's id, so that nothing is missed; where it gave up, a connection is
 * made anew, and the page has to ask what it missed.
 */
export function openStream(tell) {
  let source = null;
  let timer = 0;
  let anew = false;
  let since = Date.now();
  let connected = false;

  const connect = () => {
    source = new EventSource(ADDRESS);
    source.addEventListener("open", () => {
      connected = true;
      tell("state", { connected, since: null, anew });
      anew = false;
    });
    source.addEventListener("error", () => {
      if (connected) since = Date.now();
      connected = false;
      tell("state", { connected, since, anew: false });
      if (source.readyState === EventSource.CLOSED) {
        anew = true;
        timer = setTimeout(connect, PATIENCE);
      }
    });
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => tell(kind, JSON.parse(event.data)));
    }
  };
  connect();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}
