import { expect, test } from "vitest";
import type { Down } from "./contract";
import { golden } from "./golden";
import { apply, empty } from "./state";
import { absent, advance, type Chunk, decode, erased, lead, place, range, standing, strokes, Track } from "./wave";

const chunk = (start: number, n = 250, interval = 4000): Chunk => ({ ward: "7w", bed: "12", lead: 131330, start, interval, nv: 1000, samples: Int16Array.from({ length: n }, (_, i) => i) });
const track = (...list: Chunk[]) => {
  const t = new Track();
  for (const c of list) t.add(c);
  return t;
};

function message(ward: string, bed: string, samples: number[]): ArrayBuffer {
  const pad = Math.ceil((ward.length + bed.length) / 4) * 4;
  const v = new DataView(new ArrayBuffer(32 + pad + 2 * samples.length));
  [1, ward.length, bed.length, 0].forEach((x, i) => v.setUint8(i, x));
  v.setUint32(4, 131330, true);
  v.setBigInt64(8, 1_772_331_300_000_000n, true);
  v.setUint32(16, 8192, true);
  v.setUint32(20, 2, true);
  v.setUint32(24, 2500, true);
  v.setUint32(28, samples.length, true);
  [...(ward + bed)].forEach((c, i) => v.setUint8(32 + i, c.charCodeAt(0)));
  samples.forEach((x, i) => v.setInt16(32 + pad + 2 * i, x, true));
  return v.buffer;
}

test("a waveform message is read, whatever padding its names need", () => {
  for (const [ward, bed] of [["7w", "12"], ["7w", "1"], ["icu-north", "3a"]] as const) {
    expect(decode(message(ward, bed, [0, -1, 32767, -32768]))).toEqual({ ward, bed, lead: 131330, start: 1_772_331_300_000_000, interval: 4096, nv: 2500, samples: Int16Array.from([0, -1, 32767, -32768]) });
  }
});

test("a message of another version, a short one and an empty one are passed over", () => {
  const other = message("7w", "12", [1]);
  new DataView(other).setUint8(0, 2);
  expect(decode(other)).toBeNull();
  expect(decode(message("7w", "12", [1, 2, 3]).slice(0, -2))).toBeNull();
  expect(decode(new ArrayBuffer(0))).toBeNull();
});

test("chunks are kept in order, each once, and no longer than 90 s", () => {
  const t = track(chunk(2e6), chunk(1e6), chunk(2e6), chunk(0));
  expect(t.chunks.map((c) => c.start)).toEqual([0, 1e6, 2e6]);
  for (let i = 3; i < 300; i++) t.add(chunk(i * 1e6));
  expect(t.length).toBeLessThanOrEqual(92e6);
  expect(t.end).toBe(300e6);
});

test("a sweep runs behind the newest sample, stops at it, and catches up when it is far behind", () => {
  const t = track(chunk(0), chunk(1e6), chunk(2e6), chunk(3e6));
  const head = advance(null, t, 0);
  expect(head).toBe(4e6 - t.cushion);
  expect(advance(head, t, 16_000)).toBe(head + 16_000);
  expect(advance(head, t, 60e6)).toBe(4e6);
  for (let i = 4; i < 20; i++) t.add(chunk(i * 1e6));
  expect(advance(head, t, 16_000)).toBe(20e6 - t.cushion);
});

test("a wave has stopped when nothing comes, and one that is only late is shown with its age", () => {
  const t = track(chunk(0));
  t.came = 8e6;
  expect(standing(t, 9e6)).toEqual({ why: "", late: 8e6 });
  expect(standing(t, 14e6).why).toBe("The wave has stopped");
  t.came = 20e6;
  expect(standing(t, 20e6).why).toBe("The wave that comes is history");
});

test("25 mm of paper are swept in one second, and the same instant is always at the same place", () => {
  const s = { width: 1000, speed: 100 };
  expect(place(3e6, s) - place(2e6, s)).toBe(100);
  expect(place(12e6, s)).toBe(place(2e6, s));
});

test("the erase bar goes before the head and round the right edge", () => {
  const s = { width: 1000, speed: 100, bar: 24 };
  expect(erased(2e6, 2.1e6, s)).toEqual([[200, 34]]);
  expect(erased(9.8e6, 9.9e6, s).map((r) => r.map(Math.round))).toEqual([[980, 20], [0, 14]]);
  expect(erased(0, 60e6, s)).toEqual([[0, 1000]]);
});

const sweep = { width: 1000, speed: 100, bar: 24, y: (v: number) => -v };

test("lines go from frame to frame without a break and carry 10 mm for 1 mV", () => {
  const t = track(chunk(0), chunk(1e6));
  const [line] = strokes(t, 0.5e6, 1.5e6, sweep);
  expect(strokes(t, 0.5e6, 1.5e6, sweep)).toHaveLength(1);
  expect(line!.at(0)![0]).toBeCloseTo(50);
  expect(line!.at(-1)![0]).toBeCloseTo(150);
  expect(line!.at(0)![1]).toBeCloseTo(-0.125); // 125 counts of 1000 nV are 0.125 mV
  const next = strokes(t, 1.5e6, 1.52e6, sweep)[0]!;
  expect(next[0]![0]).toBeCloseTo(line!.at(-1)![0]);
});

test("a line ends at the right edge and begins again at the left", () => {
  const lines = strokes(track(chunk(9e6), chunk(10e6)), 9.5e6, 10.5e6, sweep);
  expect(lines).toHaveLength(2);
  expect(lines[0]!.at(-1)![0]).toBeGreaterThan(999);
  expect(lines[1]![0]![0]).toBeLessThan(1);
});

test("what was not measured is not drawn", () => {
  const lines = strokes(track(chunk(0), chunk(3e6)), 0, 4e6, sweep);
  expect(lines).toHaveLength(2);
  expect(lines[1]![0]![0] - lines[0]!.at(-1)![0]).toBeGreaterThan(190);
});

test("leads are named by their code", () => {
  expect(lead(131330)).toEqual({ name: "ECG II", kind: "ecg" });
  expect(lead(131390).kind).toBe("ecg");
  expect(lead(151780).kind).toBe("resp");
});

test("a wave is centred on its middle value", () => {
  expect(range(track(chunk(0)), 8e6)).toEqual({ low: 0, middle: expect.closeTo(0.124, 2), high: 0.248 });
  expect(range(new Track(), 8e6)).toBeNull();
});

test("a wave that does not come is explained, and by the sensor only when all else is whole", () => {
  const s = apply(empty, golden<Extract<Down, { t: "snapshot" }>>("snapshot"));
  expect(absent(s, "7w", "12", 0)).toBe("This sensor sends no waveform.");
  expect(absent(s, "7w", "12", 15e6)).toBe("No wave: this screen is cut off.");
  expect(absent(apply(s, golden<Down>("vitals")), "7w", "15", 0)).toMatch(/^No wave: (the sensor is silent|no sensor is bound to this bed)\.$/);
  expect(absent({ ...s, gateways: { "gw-7w": { ...s.gateways["gw-7w"]!, link: "down" } } }, "7w", "12", 0)).toBe("No wave: the gateway's link is lost.");
});
