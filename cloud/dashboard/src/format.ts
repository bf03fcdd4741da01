// Words for numbers and times. Every instant is shown with its zone somewhere on
// the same screen; every age is counted by the cloud's clock.

import type { Micros } from "./contract";

const second = 1e6;

/** clock is 02:14:09, in the zone of the screen. */
export function clock(at: Micros, zone?: string): string {
  return format(at, { hour: "2-digit", minute: "2-digit", second: "2-digit" }, zone);
}

/** clockZone is 02:14:09 CET. */
export function clockZone(at: Micros, zone?: string): string {
  return format(at, { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" }, zone);
}

/** hourMinute is 02:14. */
export function hourMinute(at: Micros, zone?: string): string {
  return format(at, { hour: "2-digit", minute: "2-digit" }, zone);
}

/** dayOf is 2026-11-14, as a field for a day has it, in the zone of the screen. */
export function dayOf(at: Micros, zone?: string): string {
  return format(at, { day: "2-digit", month: "2-digit", year: "numeric" }, zone).split("/").reverse().join("-");
}

/** dayTime is 02:14:09 today and 14 Nov, 02:14:09 on any other day. */
export function dayTime(at: Micros, now: Micros, zone?: string): string {
  const day: Intl.DateTimeFormatOptions = { day: "numeric", month: "short", year: "numeric" };
  if (format(at, day, zone) === format(now, day, zone)) return clock(at, zone);
  return `${format(at, { day: "numeric", month: "short" }, zone)}, ${clock(at, zone)}`;
}

/** dayTimeZone is dayTime with its zone: 02:14:09 CET, or 14 Nov, 02:14:09 CET. */
export function dayTimeZone(at: Micros, now: Micros, zone?: string): string {
  return dayTime(at, now, zone).replace(clock(at, zone), clockZone(at, zone));
}

const formats = new Map<string, Intl.DateTimeFormat>();

function format(at: Micros, o: Intl.DateTimeFormatOptions, timeZone?: string): string {
  const k = JSON.stringify([o, timeZone]);
  let f = formats.get(k);
  if (!f) {
    f = new Intl.DateTimeFormat("en-GB", { hourCycle: "h23", ...o, ...(timeZone ? { timeZone } : {}) });
    formats.set(k, f);
  }
  return f.format(at / 1000);
}

/** short is a count of time as 0:40, 4:12 or 1:02:10. */
export function short(span: Micros): string {
  const s = Math.max(0, Math.floor(span / second));
  const [h, m, r] = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(r)}` : `${m}:${two(r)}`;
}

/** words is a count of time as 40 s, 1 min 20 s, 3 h 5 min or 2 d 4 h. */
export function words(span: Micros): string {
  const s = Math.max(0, Math.floor(span / second));
  if (s < 60) return `${s} s`;
  if (s < 3600) return s % 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${s / 60} min`;
  if (s < 86400) {
    const m = Math.floor(s / 60) % 60;
    return m ? `${Math.floor(s / 3600)} h ${m} min` : `${Math.floor(s / 3600)} h`;
  }
  const h = Math.floor(s / 3600) % 24;
  return h ? `${Math.floor(s / 86400)} d ${h} h` : `${Math.floor(s / 86400)} d`;
}

/** behind is 0.4 s, and 12 s from ten seconds on. */
export function behind(span: Micros): string {
  const s = Math.max(0, span / second);
  return s < 10 ? `${s.toFixed(1)} s` : words(span);
}

/** figure is a value with the digits that mean something. */
export function figure(value: number, decimals: number): string {
  return Number.isFinite(value) ? value.toFixed(decimals) : "––";
}

/** plural is "1 bed", "12 beds". */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}

/** unit turns a UCUM unit into what is written on a ward. */
export function unit(ucum: string): string {
  return { Cel: " °C", "%": " %", "/min": "", "1": "", s: " s", "": "" }[ucum] ?? ` ${ucum}`;
}

const [opens, closes] = ["\u2068", "\u2069"]; // Unicode's isolate for text of either direction

/** isolate marks what a person wrote, a name above all, so that its direction of
 * writing cannot turn the line around it. Words.svelte shows the mark as <bdi>. */
export function isolate(text: string): string {
  return opens + text.replace(/[\u2066-\u2069]/g, "") + closes;
}

/** parts splits a text at its marks: what stands at odd places was isolated. */
export function parts(text: string): string[] {
  return text.split(/[\u2068\u2069]/);
}
