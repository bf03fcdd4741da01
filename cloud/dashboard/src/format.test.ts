import { expect, test } from "vitest";
import { refusal } from "./api";
import { readFileSync } from "node:fs";
import { commentLimit, passwordLeast, passwordMost } from "./contract";
import { behind, clock, clockZone, dayOf, dayTime, dayTimeZone, figure, isolate, parts, short, unit, words } from "./format";
import { path } from "./line";
import { columns, last, nearest, reason, scale } from "./trend";

const at = Date.UTC(2026, 0, 15, 1, 14, 9, 400) * 1000;

test("times carry their zone", () => {
  expect(clockZone(at, "Europe/Berlin")).toBe("02:14:09 CET");
  expect(clock(at, "UTC")).toBe("01:14:09");
  expect(clock(Date.UTC(2026, 0, 15, 0, 0, 5) * 1000, "UTC")).toBe("00:00:05");
});

test("another day is named", () => {
  expect(dayTime(at, at + 3600e6, "UTC")).toBe("01:14:09");
  expect(dayTime(at, at + 86400e6, "UTC")).toBe("15 Jan, 01:14:09");
  expect(dayTimeZone(at, at + 86400e6, "Europe/Berlin")).toBe("15 Jan, 02:14:09 CET");
});

test("spans of time in figures and in words", () => {
  expect([0, 40e6, 252e6, 3730e6, -5e6].map(short)).toEqual(["0:00", "0:40", "4:12", "1:02:10", "0:00"]);
  expect([40e6, 80e6, 120e6, 11100e6, 187200e6].map(words)).toEqual(["40 s", "1 min 20 s", "2 min", "3 h 5 min", "2 d 4 h"]);
  expect([4e5, 12e6, 80e6].map(behind)).toEqual(["0.4 s", "12 s", "1 min 20 s"]);
});

test("a value that is none is never a number", () => {
  expect(figure(37.94, 1)).toBe("37.9");
  expect(figure(Number.NaN, 0)).toBe("––");
  expect(unit("Cel")).toBe(" °C");
});

test("a refusal says what the cloud said, and when to try again", () => {
  expect(refusal(423, `{"title":"Locked","detail":"This account is locked for 15 minutes.","reason":"locked","until":${at}}`, "900").message).toMatch(/^This account is locked for 15 minutes. Locked until \d\d:\d\d:\d\d \S+\.$/);
  expect(refusal(429, '{"title":"Too many tries.","reason":"busy"}', "900").message).toBe("Too many tries. Try again in 15 min.");
  expect(refusal(502, "<html>", null)).toMatchObject({ status: 502, reason: "", message: "The cloud could not do it. Try again." });
});

test("the line of a tile is broken where nothing was measured and calm looks calm", () => {
  const now = 1e12;
  const d = path([[now - 400e6, 80], [now - 340e6, 81], [now - 20e6, 80], [now - 31 * 60e6, 300]].sort((a, b) => a[0]! - b[0]!) as [number, number][], now);
  expect(d.match(/M/g)).toHaveLength(2);
  expect(d).not.toContain("NaN");
  expect(path([], now)).toBe("");
});

test("an axis holds its values and limits and is never narrower than is usual", () => {
  const c = columns({ from: 0, to: 10, step: 1, vitals: { hr: [[2, 30, 35, 200]] }, holes: null, late: null }, "hr");
  const [low, high] = scale(c, [40, 140], [null, 150]);
  expect(low).toBeLessThan(30);
  expect(high).toBeGreaterThan(200);
  expect(c.mean[2]).toBe(35);
});

test("a hole's reason is in words, also one that this page does not know", () => {
  expect(reason("no_data")).toBe("nothing has come");
  expect(reason("evicted: the gateway's disk was full")).toBe("evicted: the gateway's disk was full");
});

test("the nearest mark within reach is picked", () => {
  const ticks = [{ at: 10, id: "a" }, { at: 20, id: "b" }];
  expect(nearest(ticks, 18, 5)).toBe("b");
  expect(nearest(ticks, 40, 5)).toBe("");
});

test("a day as a field has it, in the zone of the screen", () => {
  expect(dayOf(at, "Europe/Berlin")).toBe("2026-01-15");
  expect(dayOf(at - 2 * 3600e6, "UTC")).toBe("2026-01-14");
});

test("a name stays in its place whatever its characters do", () => {
  expect(parts(`acked by ${isolate("A.\u2069\u202e Meyer")}, 4:12 left`)).toEqual(["acked by ", "A.\u202e Meyer", ", 4:12 left"]);
});

test("the last point of a trend is that of any vital", () => {
  const t = { from: 0, to: 10, step: 1, vitals: { hr: [[2, 30, 35, 200]], temp: [[4, 1, 1, 1]], rr: [] }, holes: null, late: null } as never;
  expect(last(t)).toBe(4);
  expect(last({ from: 0, to: 1, step: 1, vitals: {}, holes: null, late: null })).toBe(0);
});

test("what a person may write is as long as the API takes", () => {
  const schemas = JSON.parse(readFileSync(new URL("../../internal/api/openapi.json", import.meta.url), "utf8")).components.schemas;
  expect(commentLimit).toBe(schemas.Words.properties.text.maxLength);
  expect([passwordLeast, passwordMost]).toEqual([schemas.OwnPassword.properties.new.minLength, schemas.OwnPassword.properties.new.maxLength]);
});
