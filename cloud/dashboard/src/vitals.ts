// How each vital is shown. Names, labels and decimals are those of shared/vital.

import type { Alert, Bed, Micros } from "./contract";

export interface Shown {
  name: string;
  label: string;
  unit: string;
  decimals: number;
  stale: Micros; // older than this is no longer shown as a value
  span: [number, number]; // the least range of a trend's axis
}

// A streaming patch sends heart rate, respiration and saturation every second or
// two, so 10 s without one is a fact to show. Temperature changes in minutes and
// some patches send it once in 30 s.
const list: Shown[] = [
  { name: "hr", label: "HR", unit: "/min", decimals: 0, stale: 10e6, span: [40, 140] },
  { name: "spo2", label: "SpO2", unit: "%", decimals: 0, stale: 10e6, span: [85, 100] },
  { name: "rr", label: "RR", unit: "/min", decimals: 0, stale: 10e6, span: [5, 35] },
  { name: "temp", label: "T", unit: "°C", decimals: 1, stale: 60e6, span: [35, 40] },
  { name: "pulse", label: "PR", unit: "/min", decimals: 0, stale: 10e6, span: [40, 140] },
];

const byName = new Map(list.map((v) => [v.name, v]));
const always = ["hr", "spo2", "rr", "temp"];

/** shown lists the vitals that a bed's tile has places for: the usual four, or
 * what its sensor is expected to give. Places do not move as readings come and go. */
export function shown(bed: Bed): Shown[] {
  const expect = (bed.expect ?? []).filter((n) => byName.has(n));
  const names = expect.length > 0 ? expect : always;
  return list.filter((v) => names.includes(v.name)).slice(0, 4);
}

export const vital = (name: string): Shown | undefined => byName.get(name);

export interface Crossed {
  side: "above" | "below";
  limit: number;
}

/** crossed is the outermost limit in force that value is beyond, if any. */
export function crossed(name: string, value: number, limits: Record<string, number> | null): Crossed | null {
  let found: Crossed | null = null;
  for (const [id, limit] of Object.entries(limits ?? {})) {
    const [of, what] = split(id);
    if (of !== name) continue;
    if (what.includes("high") && value > limit && (found === null || limit > found.limit)) found = { side: "above", limit };
    if (what.includes("low") && value < limit && (found === null || limit < found.limit)) found = { side: "below", limit };
  }
  return found;
}

/** limitsOf are a vital's innermost limits, which a trend draws and a bed's page names. */
export function limitsOf(name: string, limits: Record<string, number> | null): { low: number | null; high: number | null } {
  let low: number | null = null;
  let high: number | null = null;
  for (const [id, limit] of Object.entries(limits ?? {})) {
    const [of, what] = split(id);
    if (of !== name) continue;
    if (what.includes("high")) high = high === null ? limit : Math.min(high, limit);
    if (what.includes("low")) low = low === null ? limit : Math.max(low, limit);
  }
  return { low, high };
}

function split(id: string): [string, string] {
  const dot = id.indexOf(".");
  return dot < 0 ? [id, ""] : [id.slice(0, dot), id.slice(dot + 1)];
}

/** vitalOf is the vital that an alert is about, read from its evidence, then from
 * its rule's name; "" when it is about none. */
export function vitalOf(a: Alert): string {
  for (const text of [...(a.evidence ?? []).map((e) => e.name), a.rule]) {
    const found = /(?:^|[^a-z0-9])(hr|spo2|rr|temp|pulse)(?![a-z0-9])/.exec(text);
    if (found?.[1]) return found[1];
  }
  return "";
}
