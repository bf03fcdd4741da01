// Which alert sounds, and what its sound is. Pure; sounder.ts makes it heard.
//
// After IEC 60601-1-8: bursts of 10, 3 and 1 pulses for high, medium and low.
// One alert sounds at a time, the most urgent. A technical alert has the same
// number of pulses at another pitch, falling, so that the ear tells the two apart.

import type { Alert, Kind, Micros, Priority } from "./contract";
import { urgency, wanting } from "./select";

export const muteFor: Micros = 2 * 60e6;

/** Mute is this screen alone not sounding for what was known when it began. */
export interface Mute {
  until: Micros;
  known: Record<string, Priority>;
}

/** sounding are the alerts that want to be heard: the cloud pages for them, and
 * nobody acknowledged. An acknowledgement that ran out while this screen was cut
 * off counts as what the cloud will say of it. */
export function sounding(alerts: Record<string, Alert>, now: Micros): Alert[] {
  return Object.values(alerts).filter((a) => wanting(a, now) && (a.page || a.ack !== null)).sort((a, b) => urgency(a, b, now));
}

/** choose is the one alert that sounds now. A mute does not hold for an alert that
 * is new, nor for one that became more urgent. */
export function choose(alerts: Record<string, Alert>, now: Micros, mute: Mute | null): Alert | null {
  const all = sounding(alerts, now);
  if (!mute || mute.until <= now) return all[0] ?? null;
  return all.find((a) => mute.known[a.id] !== a.priority) ?? null;
}

/** hush begins a mute. */
export function hush(alerts: Record<string, Alert>, now: Micros): Mute {
  return { until: now + muteFor, known: Object.fromEntries(Object.values(alerts).map((a) => [a.id, a.priority])) };
}

export interface Pulse {
  at: number; // s after the burst's begin
  length: number; // s
  pitch: number; // Hz
}

export interface Burst {
  pulses: Pulse[];
  every: number; // s from one burst's begin to the next's
}

// Pulse spacing x is 50-125 ms for high and y 125-250 ms for the others; a high
// burst is two groups of five with the third pulse set apart from the fourth. Intervals
// between bursts are within 2.5-15 s for high, 2.5-30 s for medium, over 15 s for low.
const shapes: Record<Priority, { starts: number[]; length: number; every: number }> = {
  high: { starts: [0, 0.25, 0.5, 0.95, 1.2, 2.2, 2.45, 2.7, 3.15, 3.4], length: 0.15, every: 8 },
  medium: { starts: [0, 0.4, 0.8], length: 0.2, every: 10 },
  low: { starts: [0], length: 0.2, every: 20 },
};

/** burst is the sound of a priority and kind. */
export function burst(priority: Priority, kind: Kind): Burst {
  const { starts, length, every } = shapes[priority];
  const base = { high: 659, medium: 523, low: 440 }[priority];
  const pitch = (i: number) => (kind === "technical" ? [392, 311][i % 2]! : base);
  return { pulses: starts.map((at, i) => ({ at, length, pitch: pitch(i) })), every };
}
