import { expect, test } from "vitest";
import type { Alert, Down, Gateway } from "./contract";
import { golden } from "./golden";
import { parts } from "./format";
import { answer, count, current, dock, grid, icon, lag, newestData, places, stream, tile, title, wanting } from "./select";
import { apply, empty, key, type State } from "./state";
import { crossed, limitsOf, shown, vitalOf } from "./vitals";

const snapshot = golden<Extract<Down, { t: "snapshot" }>>("snapshot");
const now = snapshot.now;
const s: State = apply(empty, snapshot);
const bed = (id: string) => s.wards[0]!.beds.find((b) => b.id === id)!;
const plain = (text: string) => parts(text).join("");
const at = (id: string, when = now, away = 0, of = s) => tile(of, "7w", bed(id), when, away);

test("a tile shows the vitals, the outermost limit that is crossed, and who answers", () => {
  const t = at("12");
  expect(t.numbers.map((n) => n.text)).toEqual(["156", "94", "22", "37.9"]);
  expect(t.numbers[0]!.limit).toEqual({ side: "above", limit: 140 });
  expect(t.numbers[0]!.alert?.priority).toBe("high");
  expect(plain(t.foot)).toBe("acked by a.meyer, 9:40 left");
  expect(t.age).toBe("1 s");
});

test("a value older than 10 s is never shown as one; temperature has 60 s", () => {
  expect(at("12", now + 8e6).numbers[0]!.text).toBe("156");
  const t = at("12", now + 79e6);
  expect(t.numbers[0]).toMatchObject({ text: "––", note: "no reading for 1 min 20 s", last: "156", limit: null });
  expect(at("12", now + 30e6).numbers[3]!.text).toBe("37.9");
  expect(t.numbers[3]!.text).toBe("––");
});

test("lead off is said where the heart rate was, since when the gateway says", () => {
  const t = at("14");
  expect(t.numbers[0]).toMatchObject({ text: "––", note: "lead off 0:40" });
  expect(t.numbers[1]!.text).toBe("96");
  expect(t.top?.kind).toBe("technical");
});

test("a silent sensor and a bed without readings say so", () => {
  const silent = apply(s, golden("vitals"));
  expect(at("15", now, 0, silent).numbers[0]!.note).toBe("silent 1:20");
  expect(at("15").numbers[0]!.note).toBe("no reading yet");
  expect(at("15").age).toBe("no data yet");
  expect(at("15", now, 0, silent).age).toMatch(/^silent since \d\d:\d\d:\d\d$/); // it was heard, whether or not it measured
  expect(newestData(at("12"), s.live[key("7w", "12")]!, 0, now)).toBe("newest data 1 s old");
});

test("a sensor that was silent before the screen was opened is said with its last data", () => {
  const before = structuredClone(snapshot);
  const b = before.wards[0]!.beds.find((x) => x.id === "15")!;
  b.line = { hr: [[now - 140e6, 70]] };
  b.live = { bed: "15", at: now, v: {}, contact: null, leads_off: [], silent_since: now - 80e6, battery: null };
  const opened = apply(empty, before);
  expect(opened.last[key("7w", "15")]).toBe(now - 80e6);
  const t = at("15", now, 0, opened);
  expect(t.age).toMatch(/^last data \d\d:\d\d:\d\d$/);
  expect(newestData(t, opened.live[key("7w", "15")]!, 0, now)).toBe(t.age);
  expect(newestData(at("15"), null, now - 7200e6, now)).toMatch(/^last data /); // the trends know more
  const fell = apply(s, { t: "vitals", ward: "7w", at: now, beds: [{ bed: "12", at: now + 1e6, v: {}, contact: null, leads_off: [], silent_since: now - 1e6, battery: null }] });
  expect(fell.last[key("7w", "12")]).toBe(now - 1e6);
});

test("a tile says when the gateway's link is lost or the screen itself is cut off", () => {
  const g = golden<Extract<Down, { t: "change"; kind: "gateway" }>>("change_gateway");
  const down = apply(s, { ...g, gateway: { ...g.gateway, link: "down", since: now - 40e6 } });
  expect(at("12", now, 0, down).link).toBe("gateway link lost 0:40");
  expect(at("12", now, 15e6, down).link).toBe("this screen is cut off 0:15");
  expect(at("12", now + 8e6, 12e6).numbers[3]!.text).toBe("––"); // nothing can be current any more
  expect(at("12").link).toBe("");
});

test("who answers: nobody for how long, accepted, ended and not resolved", () => {
  const said = (a: Alert, when: number) => plain(answer(a, when));
  const a: Alert = { ...golden<Alert>("alert"), ack: null, raised_at: now - 28e6 };
  expect(said(a, now)).toBe("nobody yet, 0:28");
  expect(said({ ...a, responsibility: { type: "accepted", by: "N. Braun", at: now } }, now)).toBe("accepted by N. Braun");
  expect(said({ ...a, phase: "latched", ended_at: now - 65e6 }, now)).toBe("ended 1:05 ago, not resolved");
  expect(said({ ...a, phase: "latched", ended_at: now - 65e6, ack: { by: "A.", at: now, until: 0, via: "page" } }, now)).toBe("ended 1:05 ago, acked by A.");
  expect(said({ ...a, ack: { by: "A.", at: now, until: now + 1e6, via: "page" } }, now + 2e6)).toBe("nobody yet, 0:30");
});

test("the dock keeps patients and technology apart, each by priority, then age", () => {
  const make = (id: string, x: Partial<Alert>): [string, Alert] => [id, { ...golden<Alert>("alert"), id, kind: "physiological", ...x }];
  const ack = { by: "A.", at: now, until: now + 60e6, via: "page" };
  const all = Object.fromEntries([
    make("a", { priority: "medium", onset: 1, ack: null }),
    make("b", { priority: "high", onset: 9, ack: null }),
    make("c", { priority: "high", onset: 5, ack: null }),
    make("k", { priority: "high", onset: 1, ack }),
    make("l", { priority: "high", onset: 2, phase: "latched", ack: null }),
    make("t", { kind: "technical", priority: "high", onset: 0 }),
  ]);
  const d = dock(all, now);
  // Nobody answered and true, nobody answered and latched, answered; then the next priority.
  expect(d.physiological.map((a) => a.id)).toEqual(["c", "b", "l", "k", "a"]);
  expect(dock(all, now + 61e6).physiological.map((a) => a.id)).toEqual(["k", "c", "b", "l", "a"]); // it ran out
  expect(d.technical.map((a) => a.id)).toEqual(["t"]);
});

test("a tile's strip never shows an answered alert before one that nobody answered", () => {
  const one = golden<Alert>("alert");
  const ack = { by: "A.", at: now, until: now + 60e6, via: "page" };
  const phases = ["active", "latched"] as const;
  const standings = phases.flatMap((phase) => [null, ack].map((a) => ({ phase, ack: a })));
  for (const kind of ["physiological", "technical"] as const) {
    for (const x of standings) {
      for (const y of standings) {
        const alerts = { x: { ...one, ...x, id: "x", onset: 1, priority: "high" as const }, y: { ...one, ...y, id: "y", kind, onset: 2, priority: "high" as const } };
        const t = at("12", now, 0, { ...s, alerts });
        expect(wanting(t.top!, now)).toBe(wanting(alerts.x, now) || wanting(alerts.y, now));
      }
    }
  }
});

test("the title and the icon carry the counts", () => {
  const n = count(s.alerts);
  expect(n).toEqual({ high: 1, medium: 0, low: 1 });
  expect(title(n, "Ward 7 West")).toBe("***1 *1 Ward 7 West – Wardline");
  expect(title({ high: 0, medium: 0, low: 0 }, "")).toBe("Wardline");
  expect(icon({ high: 0, medium: 12, low: 1 })).toBe("/assets/icon-medium-9.svg");
  expect(icon({ high: 0, medium: 0, low: 0 })).toBe("/assets/icon.svg");
});

test("beds keep their places unless the most urgent are asked for first", () => {
  expect(places(s, false, now).map((p) => p.bed.id)).toEqual(["12", "14", "15"]);
  const calm = apply(s, { t: "change", cursor: "1", kind: "alert", alert: { ...s.alerts[snapshot.alerts![0]!.id]!, open: false, version: 99 } });
  expect(places(calm, true, now).map((p) => p.bed.id)).toEqual(["14", "12", "15"]);
});

test("12 to 48 tiles fit a wall without scrolling and are as large as they can be", () => {
  for (const n of [12, 16, 24, 30, 36, 48]) {
    const g = grid(n, 1560, 1020);
    expect(g.columns * g.rows).toBeGreaterThanOrEqual(n);
    expect(g.columns * (g.rows - 1)).toBeLessThan(n);
  }
  expect(grid(24, 1560, 1020)).toEqual({ columns: 6, rows: 4 });
  expect(grid(48, 1560, 1020)).toEqual({ columns: 8, rows: 6 });
});

test("the lag is that of the newest data when they came, and grows once nothing comes", () => {
  expect(lag(s, now, now)).toBe(1e6);
  expect(lag(s, now + 1e6, now)).toBe(1e6);
  expect(lag(s, now + 9e6, now)).toBe(10e6);
  expect(lag(empty, now, now)).toBeNull();
});

test("what is behind is not called live by word or colour", () => {
  const said = (when: number, away = 0, of = s) => stream(of, "", true, away, now, when);
  expect(said(now)).toEqual({ text: "live, 1.0 s behind", mark: "●" });
  expect(said(now + 6.7e6)).toEqual({ text: "7.7 s behind", mark: "" });
  expect(said(now + 19e6)).toEqual({ text: "no new data for 20 s", mark: "○" });
  expect(said(now, 15e6)).toEqual({ text: "not connected", mark: "○" });
  expect(stream(s, "", false, 0, now, now).text).toBe("connecting");
  expect(stream(empty, "", true, 0, now, now)).toEqual({ text: "connected, no data yet", mark: "" });
  expect(stream({ ...empty, last: { "7w/12": now } }, "", true, 0, now, now).text).toMatch(/^no live data, last \d\d:\d\d:\d\d$/);
  const down = { ...s, gateways: { g: { ...s.gateways["gw-7w"]!, link: "down" as const } } };
  expect(said(now, 0, down)).toEqual({ text: "live, 1.0 s behind, 1 gateway cut off", mark: "" });
  expect(stream(down, "8e", true, 0, now, now).mark).toBe("●"); // another ward's
});

test("limits are read by their names, whatever a pack calls them", () => {
  const l = { "hr.high": 120, "hr.extreme_high": 140, "hr.low": 50, "spo2.low": 90 };
  expect(crossed("hr", 130, l)).toEqual({ side: "above", limit: 120 });
  expect(crossed("hr", 50, l)).toBeNull();
  expect(crossed("hr", 49, l)).toEqual({ side: "below", limit: 50 });
  expect(limitsOf("hr", l)).toEqual({ low: 50, high: 120 });
  expect(crossed("hr", 500, null)).toBeNull();
});

test("an alert's vital is found in its evidence or its rule", () => {
  const a = golden<Alert>("alert");
  expect(vitalOf(a)).toBe("hr");
  expect(vitalOf({ ...a, evidence: [{ name: "mean(spo2,1m)", value: 1, unit: "%", at: 1 }] })).toBe("spo2");
  expect(vitalOf({ ...a, evidence: null, rule: "rr-high" })).toBe("rr");
  expect(vitalOf({ ...a, evidence: [], rule: "sensor-silent" })).toBe("");
});

test("a bed has places for the vitals that its sensor is expected to give", () => {
  expect(shown(bed("15")).map((v) => v.name)).toEqual(["hr", "spo2", "rr", "temp"]);
  expect(shown({ ...bed("15"), expect: ["spo2", "pulse", "posture"] }).map((v) => v.name)).toEqual(["spo2", "pulse"]);
});

test("a gateway's word that it lost the cloud is not shown once it is back", () => {
  const a = { ...Object.values(s.alerts)[0]!, id: "lost", rule: "link-lost", kind: "technical" as const, gateway: "gw-1", bed: "" };
  const gateway = (link: Gateway["link"]) => ({ alerts: { lost: a }, gateways: { "gw-1": { ...Object.values(s.gateways)[0]!, id: "gw-1", link } } });
  expect(Object.keys(current(gateway("down")))).toEqual(["lost"]);
  expect(Object.keys(current(gateway("up")))).toEqual([]);
});

test("a vital that is not live any more says for how long, and is never shown as current", () => {
  const k = key("7w", "12");
  const was = s.live[k]!;
  const { hr: reading, ...rest } = was.v!;
  const next = apply(s, { t: "vitals", ward: "7w", at: now + 5e6, beds: [{ ...was, at: now + 5e6, v: rest }] });
  const n = at("12", now + 5e6, 0, next).numbers[0]!;
  expect(n).toMatchObject({ text: "––", last: String(reading![0]), limit: null });
  expect(n.note).toBe("no reading for 6 s");
});
