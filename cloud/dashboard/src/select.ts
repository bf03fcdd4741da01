// What the views show of the state: pure functions of the state and of now, by
// the cloud's clock. Nothing here decides about an alert; it only puts in words
// and in order what the cloud said.

import type { Alert, Bed, BedLive, Gateway, Micros, Priority, Reading } from "./contract";
import { behind, dayTime, figure, isolate, plural, short, words } from "./format";
import { key, newest, type State } from "./state";
import { type Crossed, crossed, type Shown, shown, vitalOf } from "./vitals";

export const rank: Record<Priority, number> = { high: 3, medium: 2, low: 1 };
export const marks: Record<Priority, string> = { high: "***", medium: "**", low: "*" };

/** acked is the acknowledgement that holds now. */
export function acked(a: Alert, now: Micros): Alert["ack"] {
  return a.ack && (a.ack.until === 0 || a.ack.until > now) ? a.ack : null;
}

/** wanting says that an alert still waits for somebody: it is shown flashing. */
export function wanting(a: Alert, now: Micros): boolean {
  return a.open && !acked(a, now);
}

/** urgency orders alerts for a person: priority, then what nobody answered (what is
 * true before what is over and latched) before what somebody did, then the patient
 * before the technology, then the older before the newer. */
export function urgency(a: Alert, b: Alert, now: Micros): number {
  return rank[b.priority] - rank[a.priority] || standing(a, now) - standing(b, now) || kindRank(a) - kindRank(b) || a.onset - b.onset || (a.id < b.id ? -1 : 1);
}

const standing = (a: Alert, now: Micros) => (acked(a, now) ? 2 : a.phase === "active" ? 0 : 1);
const kindRank = (a: Alert) => (a.kind === "physiological" ? 0 : 1);

/** current are the open alerts but for a gateway's own word that it has lost the
 * cloud, when that comes by the very link that is back: it is over, and its end is
 * on its way. */
export function current(s: Pick<State, "alerts" | "gateways">): Record<string, Alert> {
  const past = (a: Alert) => a.rule === "link-lost" && s.gateways[a.gateway]?.link === "up";
  const all = Object.values(s.alerts);
  return all.some(past) ? Object.fromEntries(all.filter((a) => !past(a)).map((a) => [a.id, a])) : s.alerts;
}

export interface Dock {
  physiological: Alert[];
  technical: Alert[];
}

/** dock lists the open alerts, the two kinds apart, each by urgency. */
export function dock(alerts: Record<string, Alert>, now: Micros): Dock {
  const all = Object.values(alerts).sort((a, b) => urgency(a, b, now));
  return { physiological: all.filter((a) => a.kind !== "technical"), technical: all.filter((a) => a.kind === "technical") };
}

/** count is how many open alerts there are of each priority. */
export function count(alerts: Record<string, Alert>): Record<Priority, number> {
  const n = { high: 0, medium: 0, low: 0 };
  for (const a of Object.values(alerts)) n[a.priority]++;
  return n;
}

/** title is the document's: the counts, most urgent first, then the ward. */
export function title(n: Record<Priority, number>, place: string): string {
  const parts = (["high", "medium", "low"] as const).filter((p) => n[p] > 0).map((p) => `${marks[p]}${n[p]}`);
  return [...parts, place ? `${place} – Wardline` : "Wardline"].join(" ");
}

/** icon names the file of the page's icon. */
export function icon(n: Record<Priority, number>): string {
  const p = (["high", "medium", "low"] as const).find((x) => n[x] > 0);
  return p ? `/assets/icon-${p}-${Math.min(9, n[p])}.svg` : "/assets/icon.svg";
}

/** alertsOf are a bed's open alerts, most urgent first. */
export function alertsOf(s: Pick<State, "alerts">, ward: string, bed: string, now: Micros): Alert[] {
  return Object.values(s.alerts).filter((a) => a.ward === ward && a.bed === bed).sort((a, b) => urgency(a, b, now));
}

/** answer is who takes care of an alert, in words. */
export function answer(a: Alert, now: Micros): string {
  const ack = acked(a, now);
  if (a.phase === "latched") return `ended ${short(now - a.ended_at)} ago, ${ack ? `acked by ${isolate(ack.by)}` : "not resolved"}`;
  if (ack) return ack.until === 0 ? `acked by ${isolate(ack.by)}` : `acked by ${isolate(ack.by)}, ${short(ack.until - now)} left`;
  if (a.responsibility?.type === "accepted") return `accepted by ${isolate(a.responsibility.by)}`;
  return `nobody yet, ${short(now - a.raised_at)}`;
}

export interface Figure {
  vital: Shown;
  text: string; // the value, or –– when there is none that is current
  note: string; // why there is none
  last: string; // the last value, when it is no longer current
  limit: Crossed | null;
  alert: Alert | null; // the alert that is about this vital
}

export interface Tile {
  ward: string;
  bed: Bed;
  top: Alert | null; // the most urgent
  more: number; // further open alerts
  acked: boolean; // every alert is
  numbers: Figure[];
  link: string; // "" while the data's way to this screen is whole
  battery: string; // "" unless it matters
  age: string; // how old the newest data are, or when the last ones were
  last: Micros; // when the last data were, 0 when it is not known that there were any
  foot: string; // who answers
}

/** tile is all that a bed's place on the wall shows. away is how long this screen
 * has been cut off from the cloud, 0 while it is not. */
export function tile(s: State, ward: string, bed: Bed, now: Micros, away: Micros): Tile {
  const live = s.live[key(ward, bed.id)] ?? null;
  const last = s.last[key(ward, bed.id)] ?? 0;
  const alerts = alertsOf(s, ward, bed.id, now);
  const top = alerts[0] ?? null;
  const lost = link(s.gateways[bed.gateway], away, now);
  return {
    ward,
    bed,
    top,
    more: Math.max(0, alerts.length - 1),
    acked: alerts.length > 0 && alerts.every((a) => acked(a, now) !== null),
    numbers: shown(bed).map((v) => number(lost ? { ...v, stale: Math.min(v.stale, 10e6) } : v, bed, live, alerts, now, s.read[key(ward, bed.id)])),
    link: lost,
    battery: live?.battery != null && live.battery <= 0.15 ? `battery ${Math.round(live.battery * 100)} %` : "",
    age: age(live, last, now),
    last,
    foot: top ? answer(alerts.find((a) => !acked(a, now)) ?? top, now) : "",
  };
}

/** number is one vital of a bed as it may be shown now. read is the last reading of
 * each vital, which what is live leaves out when it is old. */
export function number(v: Shown, bed: Bed, live: BedLive | null, alerts: Alert[], now: Micros, read: Record<string, Reading> = {}): Figure {
  const r = live?.v?.[v.name] ?? read[v.name];
  const alert = alerts.find((a) => a.kind === "physiological" && vitalOf(a) === v.name) ?? null;
  const off = v.name === "hr" || v.name === "rr" ? leadOff(live, alerts, now) : "";
  const said = live?.v?.[v.name] !== undefined; // else its gateway says that there is none now
  const current = r !== undefined && said && now - r[1] <= v.stale && !live?.silent_since && !off;
  if (current) return { vital: v, text: figure(r[0], v.decimals), note: "", last: "", limit: crossed(v.name, r[0], bed.limits), alert };
  return { vital: v, text: "––", note: off || missing(bed, live, r?.[1], now), last: r && !Number.isNaN(r[0]) ? figure(r[0], v.decimals) : "", limit: null, alert };
}

function missing(bed: Bed, live: BedLive | null, at: Micros | undefined, now: Micros): string {
  if (!bed.sensor) return "no sensor";
  if (live?.silent_since) return `silent ${short(now - live.silent_since)}`;
  return at === undefined ? "no reading yet" : `no reading for ${words(now - at)}`;
}

// The sensor says that electrodes are off, not since when; the alert that the
// gateway raised for it does.
function leadOff(live: BedLive | null, alerts: Alert[], now: Micros): string {
  const leads = live?.leads_off ?? [];
  if (!live || (live.contact !== false && leads.length === 0)) return "";
  const since = alerts.find((a) => a.kind === "technical" && /lead|contact/i.test(`${a.rule} ${a.text}`))?.onset;
  return since ? `lead off ${short(now - since)}` : "lead off";
}

function link(g: Gateway | undefined, away: Micros, now: Micros): string {
  if (away > 0) return `this screen is cut off ${short(away)}`;
  if (!g) return "";
  if (g.revoked) return "gateway revoked";
  if (g.link === "down") return `gateway link lost ${short(now - g.since)}`;
  return g.link === "never" ? "gateway never seen" : "";
}

function age(live: BedLive | null, last: Micros, now: Micros): string {
  const at = newest(live);
  if (at > 0) return words(Math.max(1e6, Math.round((now - at) / 1e6) * 1e6));
  if (last > 0) return `last data ${dayTime(last, now)}`;
  return live?.silent_since ? `silent since ${dayTime(live.silent_since, now)}` : "no data yet";
}

/** newestData is what a bed's page says of its newest data. trend is when the last
 * point of its trends was, 0 for none. */
export function newestData(t: Tile, live: BedLive | null, trend: Micros, now: Micros): string {
  if (newest(live) > 0) return `newest data ${t.age} old`;
  return Math.max(t.last, trend) > 0 ? `last data ${dayTime(Math.max(t.last, trend), now)}` : t.age;
}

/** lag is how far behind now the newest data of the wards are, and null when there
 * are none. Between two messages, which come once a second, it is what it was when
 * the last one came. */
export function lag(s: State, now: Micros, received: Micros): Micros | null {
  let at = 0;
  for (const b of Object.values(s.live)) at = Math.max(at, newest(b));
  return at === 0 ? null : Math.max(0, (now - received < 2e6 ? received : now) - at);
}

const fresh: Micros = 3e6; // data that are older are not called live by a colour
const old: Micros = 10e6;

export interface Stream {
  text: string;
  mark: "●" | "○" | ""; // good, bad, and neither
}

/** stream is what the top of the page says of the data's way to this screen. ward
 * is the one that is shown, "" for all. */
export function stream(s: State, ward: string, connected: boolean, away: Micros, received: Micros, now: Micros): Stream {
  if (away > 0) return { text: "not connected", mark: "○" };
  if (!connected) return { text: "connecting", mark: "○" };
  const late = lag(s, now, received);
  if (late === null) {
    const last = Math.max(0, ...Object.values(s.last));
    return last > 0 ? { text: `no live data, last ${dayTime(last, now)}`, mark: "○" } : { text: "connected, no data yet", mark: "" };
  }
  if (late > old) return { text: `no new data for ${words(late)}`, mark: "○" };
  const lost = Object.values(s.gateways).filter((g) => g.link === "down" && !g.revoked && (ward === "" || (g.wards ?? []).includes(ward))).length;
  const text = `${late > fresh ? "" : "live, "}${behind(late)} behind`;
  if (lost > 0) return { text: `${text}, ${plural(lost, "gateway")} cut off`, mark: "" };
  return { text, mark: late > fresh ? "" : "●" };
}

export interface Place {
  ward: string;
  name: string;
  bed: Bed;
}

/** places are the beds on the wall: in their places, or the most urgent first. */
export function places(s: Pick<State, "wards" | "alerts">, byUrgency: boolean, now: Micros): Place[] {
  const all = s.wards.flatMap((w) => w.beds.map((bed) => ({ ward: w.id, name: w.name, bed })));
  if (!byUrgency) return all;
  const first = new Map(all.map((p) => [p, alertsOf(s, p.ward, p.bed.id, now)[0]]));
  return [...all].sort((x, y) => {
    const [a, b] = [first.get(x), first.get(y)];
    return a && b ? urgency(a, b, now) : a ? -1 : b ? 1 : 0;
  });
}

/** grid is the number of columns that makes n tiles largest in a room, when a tile
 * is best about as wide as it is high. */
export function grid(n: number, width: number, height: number): { columns: number; rows: number } {
  let best = { columns: 1, rows: Math.max(1, n), score: 0 };
  for (let columns = 1; columns <= n; columns++) {
    const rows = Math.ceil(n / columns);
    const score = Math.min(width / columns / 1.05, height / rows);
    if (score > best.score) best = { columns, rows, score };
  }
  return { columns: best.columns, rows: best.rows };
}
