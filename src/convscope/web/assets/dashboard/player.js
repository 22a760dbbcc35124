// The slider over the recorded steps, and what plays it.
import { find, say } from "../shared/dom.js";
import { epochs, thousands } from "../shared/words.js";

const AHEAD = 3; // frames made ready while playing

/** show(step) is called for the step to look at, null for the newest; prepare(step) promises its pictures; describe(step) names it. */
export class Player {
  #steps = [];
  #place = 0;
  #live = true;
  #timer = 0;
  #playing = false;
  #show;
  #prepare;
  #describe;

  constructor({ show, prepare, describe }) {
    this.#show = show;
    this.#prepare = prepare;
    this.#describe = describe;
    find("play").addEventListener("click", () => this.toggle());
    find("earlier").addEventListener("click", () => this.move(-1));
    find("later").addEventListener("click", () => this.move(1));
    find("live").addEventListener("change", (event) => this.setLive(event.target.checked));
    find("step").addEventListener("input", (event) => this.#go(Number(event.target.value)));
    new ResizeObserver(() => this.#drawTicks()).observe(find("ticks"));
  }

  /** The recorded steps, and the one to stand at: the newest where `step` is null. */
  update(steps, step) {
    const same = steps.length === this.#steps.length && steps.every((each, place) => each === this.#steps[place]);
    const live = step == null;
    const place = Math.max(0, steps.findLastIndex((each) => each <= (step ?? Infinity)));
    if (steps.length && same && live === this.#live && place === this.#place) return;
    this.#steps = steps;
    this.#live = live;
    this.#place = place;
    if (!steps.length) this.pause();
    find("step").max = Math.max(0, steps.length - 1);
    this.#draw();
    if (!same) this.#drawTicks();
  }

  get step() {
    return this.#steps[this.#place] ?? null;
  }

  /** The recorded step nearest to this one. */
  nearest(step) {
    const nearer = (best, each) => (Math.abs(each - step) < Math.abs(best - step) ? each : best);
    return this.#steps.reduce(nearer, this.#steps[0]);
  }

  move(frames) {
    this.pause();
    this.#go(this.#place + frames);
  }

  goTo(step) {
    this.pause();
    this.#go(this.#steps.indexOf(this.nearest(step)));
  }

  setLive(live) {
    this.pause();
    this.#show(live ? null : this.step);
  }

  toggle() {
    if (this.#playing) this.pause();
    else if (this.#steps.length > 1) {
      this.#playing = true;
      this.#draw();
      if (this.#place === this.#steps.length - 1) this.#go(0);
      this.#tick();
    }
  }

  pause() {
    this.#playing = false;
    clearTimeout(this.#timer);
    this.#draw();
  }

  async #tick() {
    const began = performance.now();
    const next = this.#place + 1;
    if (next >= this.#steps.length) {
      this.pause();
      return;
    }
    for (const step of this.#steps.slice(next + 1, next + AHEAD)) this.#prepare(step);
    await this.#prepare(this.#steps[next]);
    if (!this.#playing) return;
    const wait = 1000 / Number(find("speed").value) - (performance.now() - began);
    this.#timer = setTimeout(() => {
      this.#go(this.#place + 1);
      this.#tick();
    }, Math.max(0, wait));
  }

  #go(place) {
    if (!this.#steps.length) return;
    this.#place = Math.min(Math.max(place, 0), this.#steps.length - 1);
    this.#live = false;
    this.#draw();
    this.#show(this.step);
  }

  #draw() {
    const slider = find("step");
    const words = this.step == null ? "" : this.#describe(this.step);
    slider.value = this.#place;
    slider.setAttribute("aria-valuetext", words);
    say(find("step-value"), words);
    find("live").checked = this.#live;
    find("play").setAttribute("aria-label", this.#playing ? "Pause" : "Play");
    say(find("play").firstElementChild, this.#playing ? "❚❚" : "▶");
    find("earlier").disabled = this.#place <= 0;
    find("later").disabled = this.#place >= this.#steps.length - 1;
  }

  /** A tick for each frame, which shows that they lie ever farther apart where the numbers are read. */
  #drawTicks() {
    const canvas = find("ticks");
    const ratio = devicePixelRatio;
    const width = canvas.clientWidth;
    canvas.width = width * ratio;
    canvas.height = 6 * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.fillStyle = getComputedStyle(canvas).color;
    const thumb = 16; // the slider's handle never goes nearer to the edge than its own half
    const last = Math.max(1, this.#steps.length - 1);
    for (let place = 0; place < this.#steps.length; place += 1) {
      pen.fillRect(thumb / 2 + (place / last) * (width - thumb) - 0.5, 0, 1, 5);
    }
  }
}

/** What a step is called under the slider. */
export function saidStep(step, epoch) {
  return `step ${thousands(step)}${epoch == null ? "" : ` · epoch ${epochs(Math.round(epoch * 10) / 10)}`}`;
}
