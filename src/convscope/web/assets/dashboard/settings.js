// What the page shows, kept in the address's hash: a link or a reload brings the same view back.

const AXES = ["step", "epoch", "time"];
const KINDS = ["train", "test", "fit"];
const DEFAULTS = {
  runs: null, // ids; null: nobody chose yet, so the newest running one
  axis: "step",
  shown: ["train", "test"],
  smooth: 0, // the place on the slider
  log: false,
  layer: "",
  probe: 0,
  step: null, // null: live, the newest frame
  zoom: null, // [from, to] on the axis, in steps, epochs or seconds
};

/** The settings, how to change them (`set`), and who is told which changed (`listen`). */
export function openSettings() {
  const listeners = [];
  let values = read();
  let timer = 0;
  const write = () => {
    clearTimeout(timer);
    timer = 0;
    history.replaceState(null, "", `#${encode(values)}`);
  };
  addEventListener("pagehide", () => timer && write());
  addEventListener("hashchange", () => {
    if (!location.hash.includes("=")) return; // a jump within the page, as the skip link's
    values = read();
    listeners.forEach((tell) => tell(Object.keys(values)));
  });
  return {
    get: () => values,
    listen: (tell) => listeners.push(tell),
    set(changes) {
      values = { ...values, ...changes };
      timer ||= setTimeout(write, 150); // browsers refuse a change for every frame of a film
      listeners.forEach((tell) => tell(Object.keys(changes)));
    },
  };
}

function read() {
  const said = new URLSearchParams(location.hash.slice(1));
  const among = (text, allowed) => text.split(",").filter((word) => allowed.includes(word));
  const place = (text) => (/^\d+$/.test(text ?? "") ? Number(text) : null);
  const zoom = said.get("zoom")?.split(",").map(Number) ?? [];
  return {
    ...DEFAULTS,
    runs: said.has("runs") ? said.get("runs").split(",").filter(Boolean) : null,
    axis: AXES.includes(said.get("axis")) ? said.get("axis") : DEFAULTS.axis,
    shown: said.has("show") ? among(said.get("show"), KINDS) : DEFAULTS.shown,
    smooth: Math.min(place(said.get("smooth")) ?? 0, 12),
    log: said.get("log") === "1",
    layer: said.get("layer") ?? "",
    probe: place(said.get("probe")) ?? 0,
    step: place(said.get("step")),
    zoom: zoom.length === 2 && zoom.every(Number.isFinite) && zoom[0] < zoom[1] ? zoom : null,
  };
}

function encode(values) {
  const said = new URLSearchParams();
  if (values.runs) said.set("runs", values.runs.join(","));
  if (values.axis !== DEFAULTS.axis) said.set("axis", values.axis);
  if (values.shown.join() !== DEFAULTS.shown.join()) said.set("show", values.shown.join(","));
  if (values.smooth) said.set("smooth", values.smooth);
  if (values.log) said.set("log", "1");
  if (values.layer) said.set("layer", values.layer);
  if (values.probe) said.set("probe", values.probe);
  if (values.step != null) said.set("step", values.step);
  if (values.zoom) said.set("zoom", values.zoom.map((edge) => Number(edge.toPrecision(6))).join(","));
  return said.toString().replaceAll("%2C", ",");
}
