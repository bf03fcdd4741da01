// What the page knows of the wards, and the one function that changes it.
//
// apply is pure: the same messages give the same state, here and in the tests,
// which read the JSON that the API's own tests write. What a message does not
// touch keeps its identity, so that a view is patched only where something changed.

import type { Alert, Bed, BedLive, Down, Gateway, LinePoint, Micros, Reading } from "./contract";

export interface WardState {
  id: string;
  name: string;
  beds: Bed[]; // in their places
}

export interface State {
  loaded: boolean; // a snapshot was taken
  snapshots: number; // how many were: what a view read beside them is to be read again
  cursor: string; // "" asks for a snapshot
  wards: WardState[];
  gateways: Record<string, Gateway>;
  alerts: Record<string, Alert>; // the open ones
  ended: Alert[]; // those that ended while the page looked, newest first, at most keepEnded
  live: Record<string, BedLive>; // by key(ward, bed)
  line: Record<string, Record<string, LinePoint[]>>; // the last half hour, by key and vital
  last: Record<string, Micros>; // when a bed's last reading was, also when it is no longer live
  read: Record<string, Record<string, Reading>>; // the last one of each vital, by key and vital
}

export const empty: State = {
  loaded: false, snapshots: 0, cursor: "", wards: [], gateways: {}, alerts: {}, ended: [], live: {}, line: {}, last: {}, read: {},
};

const keepEnded = 50;
const lineSpan: Micros = 30 * 60e6;
const lineStep: Micros = 10e6;
const lined = ["hr", "spo2"]; // vitals whose line grows with what is live

/** key names a bed among all wards. */
export const key = (ward: string, bed: string): string => `${ward}/${bed}`;

/** apply is the state after a message from the cloud. It never changes s. */
export function apply(s: State, m: Down): State {
  switch (m.t) {
    case "snapshot":
      return { ...snapshot(m), snapshots: s.snapshots + 1 };
    case "change":
      return change({ ...s, cursor: m.cursor || s.cursor }, m);
    case "vitals":
      return vitals(s, m.ward, m.beds);
    case "gap":
      return { ...s, cursor: "" };
    case "ping":
    case "error":
      return s;
  }
}

/** took folds in an alert that the API answered with: the same as its change on
 * the feed, which may come before or after it. */
export function took(s: State, a: Alert): State {
  return withAlert(s, a, false);
}

function snapshot(m: Extract<Down, { t: "snapshot" }>): State {
  const s: State = { ...empty, loaded: true, cursor: m.cursor, gateways: {}, alerts: {}, live: {}, line: {}, last: {}, read: {} };
  s.wards = m.wards.map((w) => {
    for (const g of w.gateways ?? []) s.gateways[g.id] = g;
    for (const b of w.beds ?? []) {
      if (b.live) s.live[key(w.id, b.id)] = b.live;
      s.line[key(w.id, b.id)] = b.line ?? {};
      const last = lastOf(b.live, b.line ?? {});
      if (last > 0) s.last[key(w.id, b.id)] = last;
      s.read[key(w.id, b.id)] = { ...lineEnds(b.line ?? {}), ...b.live?.v };
    }
    return { id: w.id, name: w.name, beds: (w.beds ?? []).map(({ live: _, line: __, ...bed }) => bed) };
  });
  for (const a of m.alerts ?? []) if (a.open) s.alerts[a.id] = a;
  return s;
}

function change(s: State, m: Extract<Down, { t: "change" }>): State {
  switch (m.kind) {
    case "alert":
      return withAlert(s, m.alert, m.page ?? false);
    case "gateway":
      return { ...s, gateways: { ...s.gateways, [m.gateway.id]: m.gateway } };
    case "ward": {
      const w = { id: m.ward.id, name: m.ward.name, beds: m.ward.beds ?? [] };
      const old = s.wards.find((x) => x.id === w.id);
      s = without(s, w, old);
      return { ...s, wards: old ? s.wards.map((x) => (x.id === w.id ? w : x)) : [...s.wards, w] };
    }
    default:
      return s; // a kind of a later version
  }
}

function withAlert(s: State, a: Alert, page: boolean): State {
  const old = s.alerts[a.id] ?? s.ended.find((x) => x.id === a.id);
  if (old && old.version > a.version) return s;
  const next = { ...a, page: a.page || page };
  const ended = s.ended.filter((x) => x.id !== a.id);
  if (a.open) {
    return { ...s, alerts: { ...s.alerts, [a.id]: next }, ended: ended.length === s.ended.length ? s.ended : ended };
  }
  const { [a.id]: _, ...alerts } = s.alerts;
  return { ...s, alerts, ended: [{ ...next, page: false }, ...ended].slice(0, keepEnded) };
}

function vitals(s: State, ward: string, beds: BedLive[]): State {
  const live = { ...s.live };
  const last = { ...s.last };
  const read = { ...s.read };
  let line = s.line;
  for (const b of beds ?? []) {
    const k = key(ward, b.bed);
    live[k] = b; // also when it went back: the cloud's newest is what counts, and a socket keeps its order
    if (newest(b) > 0) last[k] = newest(b);
    read[k] = { ...read[k], ...b.v };
    const grown = grow(line[k] ?? {}, b);
    if (grown !== line[k]) line = { ...line, [k]: grown };
  }
  return { ...s, live, line, last, read };
}

// without forgets what came from beds of w that have another sensor or patient
// than they had in old: it is not theirs.
function without(s: State, w: WardState, old: WardState | undefined): State {
  const before = new Map(old?.beds.map((b) => [b.id, b]));
  const changed = w.beds.filter((b) => {
    const was = before.get(b.id);
    return was && (was.sensor !== b.sensor || was.patient !== b.patient);
  });
  if (changed.length === 0) return s;
  const next = { ...s, live: { ...s.live }, line: { ...s.line }, last: { ...s.last }, read: { ...s.read } };
  for (const b of changed) for (const of of [next.live, next.line, next.last, next.read]) delete of[key(w.id, b.id)];
  return next;
}

/** newest is when the newest reading of what is live was, 0 for none. */
export function newest(live: BedLive | null): Micros {
  let at = 0;
  for (const r of Object.values(live?.v ?? {})) at = Math.max(at, r[1]);
  return at;
}

// lineEnds are when the last points of a bed's lines were. Their values are means,
// and no readings.
function lineEnds(line: Record<string, LinePoint[]>): Record<string, Reading> {
  const ends: Record<string, Reading> = {};
  for (const [name, points] of Object.entries(line)) {
    const p = points?.at(-1);
    if (p) ends[name] = [NaN, p[0], 0];
  }
  return ends;
}

// lastOf is when a bed's last reading was, as far as a snapshot tells. A line has a
// point a minute; a sensor that is silent since soon after its last point was last
// heard at that instant.
function lastOf(live: BedLive | null, line: Record<string, LinePoint[]>): Micros {
  const at = Math.max(newest(live), ...Object.values(line).map((points) => points?.at(-1)?.[0] ?? 0));
  const silent = live?.silent_since ?? 0;
  return at > 0 && silent > at && silent - at < 120e6 ? silent : at;
}

function grow(line: Record<string, LinePoint[]>, b: BedLive): Record<string, LinePoint[]> {
  let next = line;
  for (const name of lined) {
    const r = b.v?.[name];
    const old = line[name] ?? [];
    const last = old.at(-1)?.[0] ?? 0;
    if (!r || (r[1] >= last && r[1] < last + lineStep)) continue;
    // Points after this one are by a clock that was corrected since.
    next = { ...next, [name]: [...old.filter((p) => p[0] > r[1] - lineSpan && p[0] < r[1]), [r[1], r[0]]] };
  }
  return next;
}
