// Plotly, loaded when the page already shows its runs, and under the page's content security policy.

/** A promise of Plotly. Rejects where its file cannot be had. */
export function loadPlotly() {
  // It brings the style sheet of its maps, which we never draw, as a style element. The policy would refuse that with
  // an error, so it is dropped. Its own rules go, through the CSSOM, into the sheet that plotly.css makes for them.
  const { head } = document;
  head.appendChild = (node) => (node.localName === "style" ? node : Node.prototype.appendChild.call(head, node));
  return new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = "/assets/plotly.js";
    script.addEventListener("load", () => done(globalThis.Plotly));
    script.addEventListener("error", () => failed(new Error("plotly.js, which draws the charts, cannot be loaded")));
    head.append(script);
  }).finally(() => delete head.appendChild);
}
