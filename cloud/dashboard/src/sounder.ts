// Makes bursts heard by Web Audio, and knows whether the browser holds sound back.

import type { Kind, Priority } from "./contract";
import { burst } from "./sound";

export class Sounder {
  #context: AudioContext | null = null;
  #wave: PeriodicWave | null = null;
  #playing = "";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #heldChanged: (held: boolean) => void;

  /** heldChanged is called when the browser begins or ceases to hold sound back. */
  constructor(heldChanged: (held: boolean) => void) {
    this.#heldChanged = heldChanged;
  }

  /** start asks the browser for sound. Without a person's touch it may refuse. */
  async start(): Promise<void> {
    if (typeof AudioContext === "undefined") return this.#heldChanged(true);
    if (!this.#context) {
      this.#context = new AudioContext();
      this.#context.onstatechange = () => this.#heldChanged(this.held);
      // A fundamental and its harmonics, as the standard asks, so that it is heard
      // through a door and its place can be found by ear.
      this.#wave = this.#context.createPeriodicWave(new Float32Array(7), new Float32Array([0, 1, 0.6, 0.5, 0.4, 0.3, 0.2]));
    }
    void this.#context.resume().catch(() => undefined); // stays pending while it is held back
    await new Promise((done) => setTimeout(done, 300));
    this.#heldChanged(this.held);
  }

  get held(): boolean {
    return this.#context?.state !== "running";
  }

  /** play repeats the burst of a priority and kind until something else is played;
   * null is silence. */
  play(what: { priority: Priority; kind: Kind } | null): void {
    const next = what ? `${what.priority} ${what.kind}` : "";
    if (next === this.#playing) return;
    this.#playing = next;
    clearTimeout(this.#timer);
    if (what) this.#repeat(what.priority, what.kind);
  }

  #repeat(priority: Priority, kind: Kind): void {
    const b = burst(priority, kind);
    const c = this.#context;
    if (c && !this.held) for (const p of b.pulses) this.#pulse(c, c.currentTime + 0.05 + p.at, p.length, p.pitch);
    this.#timer = setTimeout(() => this.#repeat(priority, kind), b.every * 1000);
  }

  #pulse(c: AudioContext, at: number, length: number, pitch: number): void {
    const [tone, gain] = [c.createOscillator(), c.createGain()];
    if (this.#wave) tone.setPeriodicWave(this.#wave);
    tone.frequency.value = pitch;
    gain.gain.setValueAtTime(0, at);
    gain.gain.linearRampToValueAtTime(0.4, at + 0.02);
    gain.gain.setValueAtTime(0.4, at + length - 0.03);
    gain.gain.linearRampToValueAtTime(0, at + length);
    tone.connect(gain).connect(c.destination);
    tone.start(at);
    tone.stop(at + length + 0.01);
  }
}
