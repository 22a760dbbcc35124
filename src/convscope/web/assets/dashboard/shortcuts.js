// The keyboard: what each key does, and the list of them. Also the drawer that holds the runs on a narrow screen.
import { element, find, pressedOn } from "../shared/dom.js";

const TYPED_INTO = "input[type=search], select, dialog *";
const AXES = ["step", "epoch", "time"];

export function listenToKeys({ player, settings, zoomBy, showAll }) {
  const turn = (changes) => settings.set(changes(settings.get()));
  const keys = [
    ["Space", "play or pause the film", () => player.toggle()],
    ["ArrowLeft", "one frame back", () => player.move(-1)],
    ["ArrowRight", "one frame on", () => player.move(1)],
    ["l", "live: follow the newest frame", () => player.setLive(settings.get().step != null)],
    ["a", "against step, epoch or time", () => turn(({ axis }) => ({ axis: after(axis), zoom: null }))],
    ["g", "log scale", () => turn(({ log }) => ({ log: !log }))],
    ["s", "smooth more", () => turn(({ smooth }) => ({ smooth: Math.min(12, smooth + 1) }))],
    ["S", "smooth less", () => turn(({ smooth }) => ({ smooth: Math.max(0, smooth - 1) }))],
    ["+", "zoom in", () => zoomBy(0.5)],
    ["-", "zoom out", () => zoomBy(2)],
    ["0", "show everything", showAll],
    ["t", "theme: system, light or dark", () => find("theme").click()],
    ["/", "filter the runs", openFilter],
    ["?", "this list", () => find("help").showModal()],
  ];
  find("shortcuts").replaceChildren(
    ...keys.flatMap(([key, does]) => [element("dt", {}, element("kbd", {}, said(key))), element("dd", {}, does)]),
  );
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") setDrawer(false);
    const target = pressedOn(event);
    if (event.ctrlKey || event.altKey || event.metaKey || target.closest?.(TYPED_INTO)) return;
    const pressed = event.key === " " ? "Space" : event.key;
    if (taken(target, pressed)) return;
    const found = keys.find(([key]) => key === pressed);
    if (!found || event.defaultPrevented) return;
    event.preventDefault();
    found[2]();
  });
  find("open-help").addEventListener("click", () => find("help").showModal());
  find("open-runs").addEventListener("click", () => setDrawer(!document.body.classList.contains("drawer")));
  find("main").addEventListener("pointerdown", () => setDrawer(false));
}

/** Whether the element that has the focus needs the key itself. */
function taken(target, key) {
  if (key === "Space") return target.matches("button, input, a, summary");
  return key.startsWith("Arrow") && target.matches("input[type=range], input[type=radio]");
}

function after(axis) {
  return AXES[(AXES.indexOf(axis) + 1) % AXES.length];
}

function said(key) {
  return { ArrowLeft: "←", ArrowRight: "→" }[key] ?? key;
}

function openFilter() {
  setDrawer(true);
  find("filter").focus();
}

function setDrawer(open) {
  document.body.classList.toggle("drawer", open);
  find("open-runs").setAttribute("aria-expanded", open);
}
