import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Down } from "./contract";
import { golden } from "./golden";
import { answerWithin, Live, lostAfter, Offset, type Socket, type Surroundings } from "./live";

class Wire implements Socket {
  sent: { t: string; [k: string]: unknown }[] = [];
  closed = false;
  onopen: Socket["onopen"] = null;
  onmessage: Socket["onmessage"] = null;
  onclose: Socket["onclose"] = null;
  send(text: string) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.closed = true;
  }
  open() {
    (this.onopen as (() => void) | null)?.();
  }
  hear(m: Down | ArrayBuffer) {
    (this.onmessage as ((e: { data: unknown }) => void) | null)?.({ data: m instanceof ArrayBuffer ? m : JSON.stringify(m) });
  }
  drop() {
    (this.onclose as (() => void) | null)?.();
  }
}

let wires: Wire[];
let taken: Down[];
let refused: number;
let cursor: string;
let live: Live;
const last = () => wires.at(-1)!;
const ping = (): Down => ({ t: "ping", now: Date.now() * 1000 });

beforeEach(() => {
  vi.useFakeTimers();
  [wires, taken, refused, cursor] = [[], [], 0, ""];
  const s: Surroundings = {
    open: () => (wires.push(new Wire()), last()),
    cursor: () => cursor,
    wards: () => ["7w"],
    take: (m) => taken.push(m),
    wave: () => undefined,
    refused: () => refused++,
    now: () => Date.now(),
    random: () => 0.5,
  };
  live = new Live(s);
  live.start();
});
afterEach(() => {
  live.stop();
  vi.useRealTimers();
});

test("it says hello with its cursor, and again with the newest one after a break", () => {
  last().open();
  expect(last().sent).toEqual([{ t: "hello", cursor: "", wards: ["7w"] }]);
  last().hear(golden("snapshot"));
  cursor = "1042";
  last().drop();
  vi.advanceTimersByTime(5000);
  expect(wires).toHaveLength(2);
  last().open();
  expect(last().sent[0]).toEqual({ t: "hello", cursor: "1042", wards: ["7w"] });
});

test("retries are at least 0.5 s apart, grow, and never exceed 5 s", () => {
  const gaps: number[] = [];
  for (let i = 0; i < 12; i++) {
    const n = wires.length;
    last().drop();
    let waited = 0;
    while (wires.length === n && waited < 10_000) {
      vi.advanceTimersByTime(50);
      waited += 50;
    }
    gaps.push(waited);
  }
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(500);
  expect(Math.max(...gaps)).toBeLessThanOrEqual(5000);
  expect(gaps.at(-1)!).toBeGreaterThan(gaps[0]!);
});

test("a gap asks for a snapshot on the same connection", () => {
  cursor = "3";
  last().open();
  last().hear({ t: "gap" });
  expect(last().sent.at(-1)).toEqual({ t: "hello", cursor: "", wards: ["7w"] });
  expect(wires).toHaveLength(1);
});

test("12 s without any message is cut off, even though the socket looks open", () => {
  last().open();
  last().hear(ping());
  vi.advanceTimersByTime(lostAfter - 1500);
  expect(live.away()).toBe(0);
  vi.advanceTimersByTime(2500);
  expect(live.away()).toBeGreaterThanOrEqual(lostAfter);
  expect(wires[0]!.closed).toBe(true);
  vi.advanceTimersByTime(5000);
  expect(wires.length).toBeGreaterThan(1);
});

test("a half-open connection is noticed within 12 s again on each new one", () => {
  last().open();
  last().hear(ping());
  vi.advanceTimersByTime(20_000);
  last().open();
  last().hear(ping());
  expect(live.away()).toBe(0);
  vi.advanceTimersByTime(14_000);
  expect(live.away()).toBeGreaterThan(0);
});

test("an attempt that hangs is given up, whether it never opens or opens and never answers", () => {
  vi.advanceTimersByTime(answerWithin + 1000);
  expect(wires[0]!.closed).toBe(true); // never opened
  vi.advanceTimersByTime(1000);
  expect(wires).toHaveLength(2);
  last().open();
  vi.advanceTimersByTime(2 * answerWithin + 1000);
  expect(wires[1]!.closed).toBe(true); // never answered its hello
  vi.advanceTimersByTime(1000);
  expect(wires).toHaveLength(3);
  last().open();
  last().hear(ping());
  expect(live.away()).toBe(0);
  last().drop();
  vi.advanceTimersByTime(1000);
  expect(wires).toHaveLength(4);
  vi.advanceTimersByTime(answerWithin + 1000); // as after a network that came back half
  expect(wires[3]!.closed).toBe(true);
});

test("hangs are given up for ever, and a second attempt has longer, for a line that is slow", () => {
  const gone = wires[0]!;
  vi.advanceTimersByTime(answerWithin - 1000);
  expect(gone.closed).toBe(false);
  vi.advanceTimersByTime(2500);
  expect(wires).toHaveLength(2);
  last().open();
  vi.advanceTimersByTime(2 * answerWithin - 2500);
  last().hear(golden("snapshot")); // after 13.5 s
  expect(live.away()).toBe(0);
  last().drop();
  for (let i = 0; i < 10; i++) {
    const n = wires.length;
    vi.advanceTimersByTime(2 * answerWithin + 6000);
    expect(wires.length).toBeGreaterThan(n);
  }
});

test("a blink is not called cut off, 3 s after a close is", () => {
  last().open();
  last().hear(ping());
  last().drop();
  vi.advanceTimersByTime(400);
  expect(live.away()).toBe(0);
  expect(live.live).toBe(false);
  vi.advanceTimersByTime(3000);
  expect(live.away()).toBeGreaterThan(0);
});

test("it is cut off as long as connections open and nothing comes through them", () => {
  for (let i = 0; i < 8; i++) {
    last().open();
    last().drop();
    vi.advanceTimersByTime(5000);
  }
  expect(live.away()).toBeGreaterThan(30_000);
  last().open();
  last().hear(golden("snapshot"));
  expect(live.away()).toBe(0);
});

test("a connection that closed before anything came asks whether the session still holds", () => {
  last().drop();
  expect(refused).toBe(1);
  vi.advanceTimersByTime(5000);
  last().open();
  last().hear(ping());
  last().drop();
  expect(refused).toBe(1);
});

test("a ping is answered, and what an old socket still says is passed over", () => {
  last().open();
  const old = last();
  old.hear({ t: "ping", now: 42 });
  expect(old.sent.at(-1)).toEqual({ t: "pong", now: 42 });
  live.again();
  expect(old.closed).toBe(true);
  const n = taken.length;
  old.hear(ping());
  old.drop();
  expect(taken).toHaveLength(n);
  expect(wires).toHaveLength(2);
});

test("a wave that is watched is asked for again on a new connection, one that is not watched is not", () => {
  const on = { t: "wave", ward: "7w", bed: "12", on: true } as const;
  last().open();
  last().hear(ping());
  live.tell(on, "wave 7w/12");
  expect(last().sent.at(-1)).toEqual(on);
  live.again();
  last().open();
  expect(last().sent).toContainEqual(on);
  live.tell(null, "wave 7w/12");
  live.again();
  last().open();
  expect(last().sent).toEqual([{ t: "hello", cursor: "", wards: ["7w"] }]);
});

test("a clock that is wrong on this machine does not make ages wrong", () => {
  const o = new Offset();
  const cloud = 1_772_331_300_000_000;
  const machine = cloud / 1000 - 3_600_000; // an hour slow
  for (const delay of [900, 20, 400, 1500]) o.hear(cloud - delay * 1000, machine);
  expect((machine * 1000 + o.offset - cloud) / 1000).toBe(-20); // ms: the fastest message counts
});

test("a clock that was set while the page ran is believed again after a few messages", () => {
  const o = new Offset();
  for (let i = 0; i < 20; i++) o.hear(5e9, 0);
  for (let i = 0; i < 12; i++) o.hear(1e9, 0);
  expect(o.offset).toBe(1e9);
});
