import { expect, test } from "vitest";
import type { Alert } from "./contract";
import { golden } from "./golden";
import { burst, choose, hush, muteFor, sounding } from "./sound";

const now = 1_772_331_300_000_000;
let n = 0;
const make = (a: Partial<Alert>): Alert => ({ ...golden<Alert>("alert"), id: String(++n), ack: null, page: true, open: true, phase: "active", kind: "physiological", priority: "low", onset: now, ...a });
const of = (...list: Alert[]) => Object.fromEntries(list.map((a) => [a.id, a]));

test("the most urgent sounds, the patient before the technology, the older before the newer", () => {
  const low = make({}), technical = make({ priority: "high", kind: "technical", onset: now - 9 }), young = make({ priority: "high", onset: now }), old = make({ priority: "high", onset: now - 5 });
  expect(sounding(of(low, technical, young, old), now).map((a) => a.id)).toEqual([old.id, young.id, technical.id, low.id]);
  expect(choose(of(low, technical, young, old), now, null)?.id).toBe(old.id);
});

test("only what the cloud pages for sounds, also when it latched, and only until somebody acknowledges it", () => {
  const ack = { by: "a", at: now, until: now + 60e6, via: "page" };
  const silent = [make({ page: false }), make({ ack, page: false }), make({ ack: { ...ack, until: 0 } }), make({ open: false })];
  expect(choose(of(...silent), now, null)).toBeNull();
  expect(choose(of(...silent, make({ phase: "latched", id: "latched" })), now, null)?.id).toBe("latched");
  expect(choose(of(...silent), now + 61e6, null)?.id).toBe(silent[1]!.id); // the acknowledgement ran out
});

test("a mute ends by itself, and neither a new alert nor a worse one is muted", () => {
  const known = make({ priority: "medium" });
  const mute = hush(of(known), now);
  expect(choose(of(known), now + 1e6, mute)).toBeNull();
  expect(choose(of(known, make({ id: "new" })), now + 1e6, mute)?.id).toBe("new");
  expect(choose(of({ ...known, priority: "high" }), now + 1e6, mute)?.id).toBe(known.id);
  expect(choose(of(known), now + muteFor, mute)?.id).toBe(known.id);
});

test("bursts have 10, 3 and 1 pulses with the standard's spacings", () => {
  for (const [priority, pulses, spacing, every] of [["high", 10, [0.05, 0.125], [2.5, 15]], ["medium", 3, [0.125, 0.25], [2.5, 30]], ["low", 1, [0, 0], [15, 1e9]]] as const) {
    const b = burst(priority, "physiological");
    expect(b.pulses, priority).toHaveLength(pulses);
    const end = b.pulses.at(-1)!.at + b.pulses.at(-1)!.length;
    expect(b.every - end, `${priority} from burst to burst`).toBeGreaterThanOrEqual(every[0]);
    expect(b.every - end).toBeLessThanOrEqual(every[1]);
    if (pulses < 2) continue;
    const gap = b.pulses[1]!.at - b.pulses[0]!.at - b.pulses[0]!.length;
    expect(gap, `${priority} pulse spacing`).toBeGreaterThanOrEqual(spacing[0]);
    expect(gap).toBeLessThanOrEqual(spacing[1]);
  }
});

test("a technical burst has the pulses of its priority and other pitches", () => {
  for (const p of ["high", "medium", "low"] as const) {
    const [a, b] = [burst(p, "physiological"), burst(p, "technical")];
    expect(b.pulses.map((x) => x.at)).toEqual(a.pulses.map((x) => x.at));
    expect(b.pulses.some((x) => a.pulses.some((y) => y.pitch === x.pitch))).toBe(false);
  }
});
