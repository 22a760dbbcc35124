// Light, dark or the system's: the button that chooses, and the colours of the moment for what CSS cannot reach.
import { element } from "./dom.js";

const THEMES = { auto: ["◐", "system"], light: ["☀\uFE0E", "light"], dark: ["☾", "dark"] };
const COLOURS = ["ink", "quiet", "rule", "page", "plate", "shade", "right", "wrong"];
const dark = matchMedia("(prefers-color-scheme: dark)");
const probe = element("span", { hidden: true });

export function startTheme(button, changed) {
  const root = document.documentElement;
  document.body.append(probe);
  const show = () => {
    const [sign, name] = THEMES[root.dataset.theme];
    const word = element("span", { class: "word" }, ` ${name}`);
    button.replaceChildren(element("span", { "aria-hidden": true }, sign), word);
    button.setAttribute("aria-label", `Theme: ${name}`);
    changed();
  };
  button.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    root.dataset.theme = names[(names.indexOf(root.dataset.theme) + 1) % names.length];
    try {
      localStorage.setItem("convscope theme", root.dataset.theme);
    } catch {
      // storage is forbidden: it holds until the page is closed
    }
    show();
  });
  dark.addEventListener("change", show);
  if (!(root.dataset.theme in THEMES)) root.dataset.theme = "auto";
  show();
}

export function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme === "dark" || (theme !== "light" && dark.matches);
}

/** The style sheet's colours of the moment, as plotly and canvases understand them. */
export function look() {
  return Object.fromEntries(COLOURS.map((name) => [name, colourOf(name)]));
}

function colourOf(name) {
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}
