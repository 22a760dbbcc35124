// The tools above the charts: axis, kinds of curve, smoothing, log scale, zoom.
import { find, say } from "../shared/dom.js";
import { SPANS } from "./smoothing.js";
import { thousands } from "../shared/words.js";

/** {draw}: shows the settings as they are. */
export function startTools(settings, { zoomBy, showAll }) {
  const axes = [...find("axis").querySelectorAll("input")];
  const kinds = [...find("shown").querySelectorAll("input")];
  const slider = find("smooth");
  find("axis").addEventListener("change", ({ target }) => settings.set({ axis: target.value, zoom: null }));
  find("shown").addEventListener("change", () => {
    settings.set({ shown: kinds.filter(({ checked }) => checked).map(({ value }) => value) });
  });
  slider.addEventListener("input", () => settings.set({ smooth: Number(slider.value) }));
  find("log").addEventListener("change", ({ target }) => settings.set({ log: target.checked }));
  find("zoom-in").addEventListener("click", () => zoomBy(0.5));
  find("zoom-out").addEventListener("click", () => zoomBy(2));
  find("zoom-all").addEventListener("click", showAll);
  return {
    draw() {
      const { axis, shown, smooth, log, zoom } = settings.get();
      for (const input of axes) input.checked = input.value === axis;
      for (const input of kinds) input.checked = shown.includes(input.value);
      slider.value = smooth;
      const words = smooth ? `${thousands(SPANS[smooth])} steps` : "off";
      say(find("smooth-value"), words);
      slider.setAttribute("aria-valuetext", words);
      find("log").checked = log;
      find("zoom-out").disabled = !zoom;
    },
  };
}
