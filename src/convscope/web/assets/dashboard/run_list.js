// The list of runs: what each is, how far it came, and whether it is drawn.
import { arrange, element, find, say, sayOrHide } from "../shared/dom.js";
import { STATUS } from "./runs.js";
import { styleOf } from "./run_styles.js";
import { addressOf } from "./addresses.js";
import { began, duration, epochs, percent, thousands } from "../shared/words.js";

export class RunList {
  #items = new Map();
  #runs;
  #goTo;

  /** goTo(run, step) is called where an alarm is clicked. */
  constructor(runs, goTo) {
    this.#runs = runs;
    this.#goTo = goTo;
    find("filter").addEventListener("input", () => this.draw());
  }

  draw() {
    const chosen = new Set(this.#runs.chosenIds());
    const words = find("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const listed = this.#runs.listed();
    const shown = listed.filter((run) => words.every((word) => searched(run).includes(word)));
    const items = shown.map((run) => {
      if (!this.#items.has(run.id)) this.#items.set(run.id, new Item(run.id, this.#runs, this.#goTo));
      const item = this.#items.get(run.id);
      item.update(run, chosen.has(run.id));
      return item.root;
    });
    arrange(find("run-list"), items);
    find("no-match").hidden = shown.length > 0 || !listed.length;
    const known = new Set(listed.map(({ id }) => id));
    for (const id of this.#items.keys()) if (!known.has(id)) this.#items.delete(id);
  }
}

function searched({ name, dataset, model, recipe, status }) {
  return [name, dataset, model, recipe, status].join(" ").toLowerCase();
}

/** One run in the list; updated in place, so that the keyboard's focus stays where it is. */
class Item {
  #box = element("input", { type: "checkbox" });
  #name = element("span", { class: "name" });
  #status = element("span", { class: "status" });
  #about = element("p", { class: "note" });
  #bar = element("progress", { max: 1 });
  #progress = element("p", { class: "numbers" });
  #figures = element("p", { class: "numbers" });
  #message = element("p", { class: "message" });
  #alarms = element("ul", { class: "alarms" });
  #csv = element("a", { class: "csv", download: true }, "numbers as CSV");
  #alarmed = "";
  #shown = "";

  constructor(id, runs, goTo) {
    this.goTo = goTo;
    this.#box.addEventListener("change", () => runs.choose(id, this.#box.checked));
    this.#csv.href = addressOf(id, "numbers.csv");
    const label = element("label", {}, this.#box, this.#name, this.#status);
    const rest = [this.#about, this.#bar, this.#progress, this.#figures, this.#message, this.#alarms, this.#csv];
    this.root = element("li", { class: "run" }, label, ...rest);
  }

  update(run, chosen) {
    this.#box.checked = chosen;
    const { colour } = styleOf(run.id);
    const shown = JSON.stringify([run, chosen, colour]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    const [word, meaning] = STATUS[run.status] ?? [run.status, ""];
    this.root.classList.toggle("chosen", chosen);
    this.root.dataset.status = run.status;
    this.root.style.setProperty("--run", colour);
    say(this.#name, run.name);
    say(this.#status, word);
    this.#status.title = meaning;
    sayOrHide(this.#about, [run.dataset, run.model, run.recipe, began(run.started)].filter(Boolean).join(" · "));
    const known = run.steps > 0;
    this.#bar.hidden = !known || run.status === "finished";
    if (known) this.#bar.value = run.step / run.steps;
    this.#bar.setAttribute("aria-label", `Progress of ${run.name}`);
    sayOrHide(this.#progress, known ? progress(run) : "");
    sayOrHide(this.#figures, figures(run));
    sayOrHide(this.#message, run.message);
    this.#csv.hidden = run.status === "deleted" || run.status === "damaged";
    this.#showAlarms(run);
  }

  #showAlarms(run) {
    const alarmed = JSON.stringify(run.alarms);
    if (alarmed === this.#alarmed) return;
    this.#alarmed = alarmed;
    const kinds = Map.groupBy(run.alarms, ({ what }) => what);
    const lines = [...kinds].map(([what, alarms]) => {
      const more = alarms.length > 1 ? ` (${alarms.length})` : "";
      const since = ` since step ${thousands(alarms[0].step)}${more}`;
      const said = element("summary", {}, element("b", {}, `⚠ ${what}`), since);
      const each = alarms.map(({ step, message }) => {
        const onclick = () => this.goTo(run.id, step);
        const place = element("button", { type: "button", onclick }, `step ${thousands(step)}`);
        return element("li", {}, place, ` ${message ?? ""}`);
      });
      return element("li", {}, element("details", {}, said, element("ul", {}, ...each)));
    });
    this.#alarms.replaceChildren(...lines);
    this.#alarms.hidden = !lines.length;
  }
}

function progress(run) {
  const words = [`step ${thousands(run.step)} of ${thousands(run.steps)}`];
  if (run.epochs) words.push(`epoch ${epochs(run.epoch ?? 0)} of ${epochs(run.epochs)}`);
  if (run.status !== "running") words.push(`in ${duration(run.seconds ?? 0)}`);
  else if (run.seconds_left != null) words.push(`${duration(run.seconds_left)} left`);
  return words.join(" · ");
}

function figures({ figures, images_per_second: speed, status }) {
  const words = [];
  if (figures.test_accuracy != null) words.push(`test ${percent(figures.test_accuracy)}`);
  if (figures.train_accuracy != null) words.push(`train ${percent(figures.train_accuracy)}`);
  if (status === "running" && speed) words.push(`${thousands(speed)} images/s`);
  return words.join(" · ");
}
