// The course of one vital, made ready to be drawn: columns on an even grid of time,
// so that a step without a reading is a break in the line and nothing else.

import type { Micros, Trend } from "./contract";

export interface Columns {
  at: number[]; // s since 1970 UTC, as uPlot takes it
  min: (number | null)[];
  max: (number | null)[];
  mean: (number | null)[]; // as it happened
  late: (number | null)[]; // the mean where it was filled in afterwards
}

/** columns spreads a vital's points over the trend's steps. */
export function columns(t: Trend, name: string): Columns {
  const step = Math.max(1, t.step);
  const n = Math.min(5000, Math.max(1, Math.ceil((t.to - t.from) / step)));
  const none = () => Array<number | null>(n).fill(null);
  const c: Columns = { at: [], min: none(), max: none(), mean: none(), late: none() };
  for (let i = 0; i < n; i++) c.at.push((t.from + i * step) / 1e6);
  for (const [at, min, mean, max] of t.vitals[name] ?? []) {
    const i = Math.round((at - t.from) / step);
    if (i < 0 || i >= n) continue;
    [c.min[i], c.max[i]] = [min, max];
    const late = (t.late ?? []).some((s) => at >= s.from && at < s.to);
    c[late ? "late" : "mean"][i] = mean;
    // A late stretch is joined to what it follows.
    if (late && i > 0 && c.mean[i - 1] !== null) c.late[i - 1] = c.mean[i - 1]!;
    if (!late && i > 0 && c.late[i - 1] !== null && c.mean[i - 1] === null) c.late[i] = mean;
  }
  return c;
}

/** scale is the range of an axis: the vital's usual one, widened to what there is. */
export function scale(c: Columns, usual: [number, number], limits: (number | null)[]): [number, number] {
  let [low, high] = usual;
  for (const v of [...c.min, ...c.max, ...limits]) {
    if (v === null) continue;
    low = Math.min(low, v);
    high = Math.max(high, v);
  }
  const room = (high - low) * 0.05;
  return [low - room, high + room];
}

/** reason puts a hole's reason in words. */
export function reason(word: string): string {
  const known: Record<string, string> = {
    no_data: "nothing has come",
    evicted: "the gateway's disk was full",
    silent: "the sensor was silent",
    down: "the gateway was off",
  };
  return known[word] ?? word.replaceAll("_", " ");
}

export interface Tick {
  at: Micros;
  id: string;
}

/** nearest is the mark within reach of an instant, "" when there is none. */
export function nearest(ticks: Tick[], at: Micros, reach: Micros): string {
  let best = "";
  for (const t of ticks) {
    const off = Math.abs(t.at - at);
    if (off <= reach) [best, reach] = [t.id, off];
  }
  return best;
}

/** last is when the last point of a trend was, 0 when it has none. */
export function last(t: Trend): Micros {
  return Math.max(0, ...Object.values(t.vitals).map((points) => points.at(-1)?.[0] ?? 0));
}
