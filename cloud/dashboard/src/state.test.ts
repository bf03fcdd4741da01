import { expect, test } from "vitest";
import type { Alert, AlertStory, BedLive, Down } from "./contract";
import { golden } from "./golden";
import { apply, empty, key, type State, took } from "./state";
import { parts } from "./format";
import { acknowledgers, ending, seen, tell } from "./story";
import { columns } from "./trend";

const snapshot = golden<Extract<Down, { t: "snapshot" }>>("snapshot");
const change = golden<Extract<Down, { t: "change"; kind: "alert" }>>("change");
const vitals = golden<Extract<Down, { t: "vitals" }>>("vitals");
const loaded = (): State => apply(empty, snapshot);
const first = (s: State): Alert => s.alerts[change.alert.id]!;
const changed = (a: Partial<Alert>, page = false): Down => ({ ...change, cursor: "2000", page, alert: { ...change.alert, ...a } });

test("a snapshot gives wards, beds in their places, gateways and the open alerts", () => {
  const s = loaded();
  expect(s.loaded).toBe(true);
  expect(s.cursor).toBe(snapshot.cursor);
  expect(s.wards[0]?.beds.map((b) => b.id)).toEqual(snapshot.wards[0]!.beds.map((b) => b.id));
  expect(s.wards[0]?.beds[0]).not.toHaveProperty("live");
  expect(s.live[key("7w", "12")]?.v?.hr?.[0]).toBe(156);
  expect(Object.keys(s.alerts)).toEqual(snapshot.alerts!.map((a) => a.id));
  expect(s.gateways["gw-7w"]?.link).toBe("up");
});

test("a snapshot forgets everything that it does not hold", () => {
  const old = apply(loaded(), changed({ id: "f".repeat(32), version: 9 }));
  expect(old.alerts["f".repeat(32)]).toBeDefined();
  expect(apply(old, snapshot)).toEqual({ ...loaded(), snapshots: 2 }); // views read the rest again
});

test("every golden message of the live socket is applied, and moves the cursor", () => {
  for (const name of ["change", "change_gateway", "change_ward"]) {
    const m = golden<Extract<Down, { t: "change" }>>(name);
    expect(apply(loaded(), m).cursor, name).toBe(m.cursor);
  }
  expect(apply(loaded(), vitals).live[key("7w", "15")]?.silent_since).toBeGreaterThan(0);
});

test("apply never changes the state that it is given", () => {
  const freeze = <T>(x: T): T => {
    if (typeof x === "object" && x !== null) Object.values(Object.freeze(x)).forEach(freeze);
    return x;
  };
  let s = freeze(loaded());
  for (const m of [vitals, change, golden<Down>("change_gateway"), golden<Down>("change_ward"), changed({ open: false, version: 8 }), { t: "gap" }] as Down[]) {
    s = freeze(apply(s, freeze(m)));
  }
  expect(s.cursor).toBe("");
});

test("what a message does not touch keeps its identity", () => {
  const s = loaded();
  const next = apply(s, changed({ version: 2 }));
  expect(next.wards).toBe(s.wards);
  expect(next.live).toBe(s.live);
  const other = snapshot.alerts!.find((a) => a.id !== change.alert.id)!;
  expect(next.alerts[other.id]).toBe(s.alerts[other.id]);
});

test("an older version of an alert changes nothing, and the same one twice is once", () => {
  const s = apply(loaded(), changed({ version: 5, text: "newer" }));
  expect(first(apply(s, changed({ version: 4, text: "older" }))).text).toBe("newer");
  expect(apply(s, changed({ version: 5, text: "newer" }))).toEqual(s);
});

test("the answer to an act and its change on the feed are one, in either order", () => {
  const ack = { by: "a.meyer", at: 1, until: 0, via: "page" };
  const answered = { ...change.alert, version: 6, ack };
  const one = apply(took(loaded(), answered), changed(answered));
  const two = took(apply(loaded(), changed(answered)), answered);
  expect(one.alerts).toEqual(two.alerts);
  expect(first(one).ack).toEqual(ack);
});

test("an alert that ended leaves the list, and an answer that came late does not bring it back", () => {
  const s = apply(loaded(), changed({ open: false, phase: "ended", ended_at: 5, version: 9 }));
  expect(first(s)).toBeUndefined();
  expect(s.ended.map((a) => a.id)).toEqual([change.alert.id]);
  expect(first(took(s, { ...change.alert, version: 8 }))).toBeUndefined();
});

test("whether a screen sounds for an alert is what the cloud said last", () => {
  const paged = apply(loaded(), changed({ version: 2, page: false }, true));
  expect(first(paged).page).toBe(true);
  expect(first(apply(paged, changed({ version: 3, page: false }))).page).toBe(false); // silenced, say
});

test("live values whose time went back, as after a corrected clock, replace those shown", () => {
  const s = apply(loaded(), vitals);
  const at = vitals.at - 3600e6;
  const back: BedLive = { ...vitals.beds[0]!, at, v: { hr: [40, at, 100] } };
  const next = apply(s, { t: "vitals", ward: "7w", at: vitals.at, beds: [back] });
  expect(next.live[key("7w", "12")]).toBe(back);
  expect(next.last[key("7w", "12")]).toBe(at);
  expect(next.line[key("7w", "12")]!.hr).toEqual([[at, 40]]); // none of it is in the future
});

test("a bed that is given another sensor or patient shows nothing of the one before", () => {
  const s = apply(loaded(), vitals);
  const ward = golden<Extract<Down, { t: "change"; kind: "ward" }>>("change_ward").ward;
  const beds = s.wards[0]!.beds;
  const with12 = (b: Partial<(typeof beds)[0]>): Down => ({ t: "change", cursor: "9", kind: "ward", ward: { ...ward, id: "7w", beds: beds.map((x) => (x.id === "12" ? { ...x, ...b } : x)) } });
  const k = key("7w", "12");
  for (const other of [{ sensor: "another" }, { patient: "another" }]) {
    const next = apply(s, with12(other));
    expect([next.live[k], next.line[k], next.last[k]]).toEqual([undefined, undefined, undefined]);
    expect(next.live[key("7w", "15")]).toBe(s.live[key("7w", "15")]);
  }
  expect(apply(s, with12({ limits: { "hr.high": 130 } })).live).toBe(s.live);
});

test("the thirty-minute line grows by a point in ten seconds and stays thirty minutes long", () => {
  let s = loaded();
  for (let i = 1; i <= 4000; i++) {
    const at = snapshot.now + i * 1e6;
    s = apply(s, { t: "vitals", ward: "7w", at, beds: [{ ...vitals.beds[0]!, at, v: { hr: [80, at, 100] } }] });
  }
  const line = s.line[key("7w", "12")]!.hr!;
  expect(line.length).toBeGreaterThan(170);
  expect(line.length).toBeLessThan(185);
  expect(line.at(-1)![0] - line[0]![0]).toBeLessThanOrEqual(30 * 60e6);
});

test("a gap empties the cursor and keeps what is shown until the snapshot comes", () => {
  const s = apply(loaded(), { t: "gap" });
  expect(s.cursor).toBe("");
  expect(s.wards).toHaveLength(1);
});

test("a kind of change that this page does not know moves the cursor and nothing else", () => {
  const s = apply(loaded(), { t: "change", cursor: "77", kind: "policy" } as never);
  expect({ ...s, cursor: snapshot.cursor }).toEqual(loaded());
});

test("a golden story is told in words, in order", () => {
  const story = tell(golden<AlertStory>("alert_story").events);
  expect(story[0]?.text).toBe("Raised: Heart rate 128 above 120 /min");
  expect(story[0]?.detail).toContain("limit HR high 120");
  expect(story[1]?.text).toContain("Now: Heart rate 156");
  expect(parts(story[2]!.text).join("")).toMatch(/^Acknowledged by a.meyer until \d\d:\d\d:\d\d$/);
  expect(parts(story[3]!.text)).toEqual(["Comment by ", "a.meyer", ""]);
  expect(story[3]).toMatchObject({ detail: "Patient is walking the corridor" });
});

test("a golden trend becomes columns with breaks where nothing was measured and its late part apart", () => {
  const c = columns(golden("trend"), "hr");
  expect(c.at).toHaveLength(60);
  expect(c.late[0]).toBe(86.5); // filled in afterwards
  expect(c.mean[0]).toBeNull();
  expect(c.mean[1]).toBe(88);
  expect(c.mean.slice(2, 59).every((x) => x === null)).toBe(true);
  expect(c.max[59]).toBe(156);
});

test("who acknowledged is read from the story, also when it ran out or was withdrawn", () => {
  const events = golden<AlertStory>("alert_story").events;
  expect(parts(acknowledgers(events)).join("")).toBe("acknowledged by a.meyer");
  expect(acknowledgers(events.filter((e) => e.type !== "acknowledged"))).toBe("nobody acknowledged");
});

test("how an alert came to its end is said, and what came again was not resolved by anybody", () => {
  const said = (a: Partial<Alert>) => parts(ending({ ...change.alert, ...a })).join("");
  expect(said({ resolution: { by: "a.meyer", at: 1, text: "seen" } })).toBe("resolved by a.meyer");
  expect(said({ resolution: { by: "system", at: 1e15, text: "Raised again as a new episode" } })).toMatch(/^came again at \d\d:\d\d:\d\d; nobody had resolved it$/);
  expect(said({ resolution: { by: "system", at: 1, text: "Superseded by: Heart rate 156" } })).toBe("Superseded by: Heart rate 156");
  expect(said({ resolution: null, end_text: "back within its limit" })).toBe("back within its limit");
  expect(tell([{ author: "gateway", n: 3, type: "resolved", at: 1, by: "system", text: "Raised again as a new episode" }])[0]!.text).toBe("Came again; nobody had resolved it");
});

test("an open alert is true when last seen while its sensor, gateway or this screen is not heard", () => {
  const [s, now] = [loaded(), snapshot.now];
  const a: Alert = { ...change.alert, ward: "7w", bed: "12", gateway: "gw-7w", kind: "physiological", onset: now - 300e6 };
  const silent = { ...s, live: { [key("7w", "12")]: { ...s.live[key("7w", "12")]!, silent_since: now - 80e6 } } };
  expect(seen(a, s, 0, now)).toBe(0);
  expect(seen(a, silent, 0, now)).toBe(now - 80e6);
  expect(seen({ ...a, kind: "technical", onset: now - 80e6 }, silent, 0, now)).toBe(0); // the silence itself
  expect(seen({ ...a, kind: "technical" }, silent, 0, now)).toBe(now - 80e6);
  expect(seen(a, s, 15e6, now)).toBe(now - 15e6);
  const down = { ...silent, gateways: { "gw-7w": { ...s.gateways["gw-7w"]!, link: "down" as const, since: now - 90e6 } } };
  expect(seen(a, down, 0, now)).toBe(now - 90e6);
  expect(seen({ ...a, gateway: "cloud", bed: "" }, down, 0, now)).toBe(0);
});
