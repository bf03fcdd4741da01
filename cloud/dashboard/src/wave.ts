// Waveforms: the binary message, what is kept of it, and where on a sweep a
// sample lies. Pure; Sweep.svelte draws.

import type { Micros } from "./contract";
import { key, type State } from "./state";

export interface Chunk {
  ward: string;
  bed: string;
  lead: number; // IEEE 11073-10101
  start: Micros;
  interval: Micros; // between two samples; a fraction is possible
  nv: number; // nV of one count
  samples: Int16Array;
}

const header = 32;

/** decode reads a waveform message; null when it is of another version or damaged. */
export function decode(b: ArrayBuffer): Chunk | null {
  if (b.byteLength < header) return null;
  const v = new DataView(b);
  const [version, wardLen, bedLen] = [v.getUint8(0), v.getUint8(1), v.getUint8(2)];
  const n = v.getUint32(28, true);
  const at = header + Math.ceil((wardLen + bedLen) / 4) * 4;
  const den = v.getUint32(20, true) || 1;
  if (version !== 1 || b.byteLength < at + 2 * n) return null;
  const text = new TextDecoder();
  const samples = new Int16Array(n);
  for (let i = 0; i < n; i++) samples[i] = v.getInt16(at + 2 * i, true);
  return {
    ward: text.decode(new Uint8Array(b, header, wardLen)),
    bed: text.decode(new Uint8Array(b, header + wardLen, bedLen)),
    lead: v.getUint32(4, true),
    start: Number(v.getBigInt64(8, true)),
    interval: v.getUint32(16, true) / den,
    nv: v.getUint32(24, true),
    samples,
  };
}

/** Lead is what a waveform's code stands for. */
export interface Lead {
  name: string;
  kind: "ecg" | "resp" | "pleth";
}

const leads: Record<number, Lead> = {
  131328: { name: "ECG", kind: "ecg" },
  131329: { name: "ECG I", kind: "ecg" },
  131330: { name: "ECG II", kind: "ecg" },
  131389: { name: "ECG III", kind: "ecg" },
  131395: { name: "ECG V", kind: "ecg" },
  131403: { name: "ECG MCL", kind: "ecg" },
  131073: { name: "ECG I", kind: "ecg" },
  131074: { name: "ECG II", kind: "ecg" },
  151780: { name: "Respiration", kind: "resp" },
  151562: { name: "Respiration", kind: "resp" },
  150452: { name: "Pleth", kind: "pleth" },
};

/** lead names a waveform. Electrical potentials have codes 131072 to 131839. */
export function lead(code: number): Lead {
  return leads[code] ?? { name: code >= 131072 && code < 131840 ? "ECG" : "Waveform", kind: code >= 131072 && code < 131840 ? "ecg" : "resp" };
}

const kept: Micros = 90e6;

/** Track is one lead of one bed: its newest 90 s, in order, each stretch once. */
export class Track {
  chunks: Chunk[] = [];
  came: Micros = 0; // when the newest chunk came, by the cloud's clock

  get end(): Micros {
    const c = this.chunks.at(-1);
    return c ? endOf(c) : 0;
  }

  /** length is how much is kept, from the first sample to the newest, in µs. */
  get length(): Micros {
    return this.chunks[0] ? this.end - this.chunks[0].start : 0;
  }

  /** cushion is how far behind the newest sample a sweep has to run, so that it
   * does not stand still until the next chunk comes. */
  get cushion(): Micros {
    return 0.3e6 + 1.5 * Math.max(0, ...this.chunks.slice(-8).map((c) => endOf(c) - c.start));
  }

  add(c: Chunk): void {
    if (c.samples.length === 0 || c.interval <= 0) return;
    const i = this.chunks.findIndex((x) => x.start >= c.start);
    if (i >= 0 && this.chunks[i]!.start === c.start) return;
    this.chunks.splice(i < 0 ? this.chunks.length : i, 0, c);
    const from = this.end - kept;
    while (this.chunks.length && endOf(this.chunks[0]!) < from) this.chunks.shift();
  }
}

const endOf = (c: Chunk): Micros => c.start + c.samples.length * c.interval;

const silent: Micros = 5e6; // nothing has come for so long: the wave has stopped
const old: Micros = 15e6; // what comes is so late that it is history

/** standing says why a wave is not shown, "" when it is, and how late it is. A relay
 * that sends several seconds at once is late and not stopped. */
export function standing(track: Track, now: Micros): { why: string; late: Micros } {
  const late = now - track.end;
  if (now - track.came > silent) return { why: "The wave has stopped", late };
  return { why: late > old ? "The wave that comes is history" : "", late };
}

/** absent says why no wave has come of a bed although it was asked for. */
export function absent(s: Pick<State, "wards" | "gateways" | "live">, ward: string, bed: string, away: Micros): string {
  const b = s.wards.find((w) => w.id === ward)?.beds.find((x) => x.id === bed);
  if (away > 0) return "No wave: this screen is cut off.";
  if (b && s.gateways[b.gateway]?.link === "down") return "No wave: the gateway's link is lost.";
  if (b && !b.sensor) return "No wave: no sensor is bound to this bed.";
  if (s.live[key(ward, bed)]?.silent_since) return "No wave: the sensor is silent.";
  return "This sensor sends no waveform.";
}

/** advance moves a sweep's head on by the time that passed: never past the newest
 * sample, and forward at once when it fell too far behind or was never set. */
export function advance(head: Micros | null, track: Track, passed: Micros): Micros {
  const { end, cushion } = track;
  if (head === null || end - head > cushion + 3e6 || head > end) return end - cushion;
  return Math.min(end, head + passed);
}

/** Sweep is a canvas's geometry, in px. */
export interface Sweep {
  width: number;
  speed: number; // px in 1 s
  bar: number; // width of the erase bar
  y(volts: number): number; // of a value in the lead's unit: mV, or counts
}

/** place is where on the sweep an instant lies: the same instant always at the same x. */
export const place = (at: Micros, s: Pick<Sweep, "width" | "speed">): number => ((at / 1e6) * s.speed) % s.width;

/** erased are the stretches [x, width] that the head's way from one instant to another
 * clears, with the erase bar before it. */
export function erased(from: Micros, to: Micros, s: Pick<Sweep, "width" | "speed" | "bar">): [number, number][] {
  const length = Math.min(s.width, ((to - from) / 1e6) * s.speed + s.bar);
  const x = place(from, s);
  return x + length <= s.width ? [[x, length]] : [[x, s.width - x], [0, x + length - s.width]];
}

/** strokes are the lines to draw for the samples in (from, to], each a list of
 * points. A line ends where the sweep begins anew on the left, and where samples
 * are missing: what was not measured is not drawn. */
export function strokes(track: Track, from: Micros, to: Micros, s: Sweep): [number, number][][] {
  const out: [number, number][][] = [];
  let line: [number, number][] = [];
  let before = -Infinity; // the last sample's instant
  const end = () => {
    if (line.length > 1) out.push(line);
    line = [];
  };
  for (const c of track.chunks) {
    if (endOf(c) < from - c.interval || c.start > to) continue;
    const unit = lead(c.lead).kind === "ecg" ? c.nv / 1e6 : 1;
    const first = Math.max(0, Math.floor((from - c.start) / c.interval)); // one before, to join on
    const last = Math.min(c.samples.length - 1, Math.floor((to - c.start) / c.interval));
    for (let i = first; i <= last; i++) {
      const at = c.start + i * c.interval;
      const x = place(at, s);
      const prior = line.at(-1);
      if (at - before > 1.5 * c.interval || (prior && x < prior[0])) end();
      line.push([x, s.y(c.samples[i]! * unit)]);
      before = at;
    }
  }
  end();
  return out;
}

/** range is the least and greatest value of a track's last seconds, and the middle
 * one, around which a wave is centred. In mV for an ECG, counts otherwise. */
export function range(track: Track, span: Micros): { low: number; middle: number; high: number } | null {
  const all: number[] = [];
  const from = track.end - span;
  for (const c of track.chunks) {
    if (endOf(c) < from) continue;
    const unit = lead(c.lead).kind === "ecg" ? c.nv / 1e6 : 1;
    for (let i = 0; i < c.samples.length; i += 4) all.push(c.samples[i]! * unit);
  }
  if (all.length === 0) return null;
  all.sort((a, b) => a - b);
  return { low: all[0]!, middle: all[all.length >> 1]!, high: all.at(-1)! };
}
