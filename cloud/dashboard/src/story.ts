// An alert's story in words: one line for each thing that happened to it.

import type { Alert, Event, Evidence, Micros } from "./contract";
import { clock, isolate, unit, words } from "./format";
import { key, type State } from "./state";
import { vital } from "./vitals";

export interface Line {
  at: number;
  mark: string; // a symbol of what it was
  text: string;
  detail: string; // evidence, or what somebody wrote
}

/** tell puts events in words, in the order in which they happened. */
export function tell(events: Event[]): Line[] {
  return [...events].sort((a, b) => a.at - b.at).map(line);
}

function line(e: Event): Line {
  const by = e.by ? ` by ${isolate(e.by)}` : "";
  const until = e.until ? ` until ${clock(e.until)}` : "";
  const via = e.via === "ward" ? ", in the ward" : "";
  const at = e.at;
  switch (e.type) {
    case "raised":
      return { at, mark: "▲", text: `Raised: ${e.condition?.text ?? ""}${e.late ? " (learnt of afterwards)" : ""}`, detail: evidence(e) };
    case "updated":
      return { at, mark: "△", text: `Now: ${e.condition?.text ?? ""}, ${e.condition?.priority ?? ""} priority`, detail: evidence(e) };
    case "ended":
      return { at, mark: "▽", text: "Condition ended", detail: e.text ?? "" };
    case "acknowledged":
      return { at, mark: "✓", text: `Acknowledged${by}${until}${via}`, detail: e.text ?? "" };
    case "acknowledgement_expired":
      return { at, mark: "↺", text: e.by && e.by !== "system" ? `Acknowledgement withdrawn${by}` : "Acknowledgement ran out", detail: e.text ?? "" };
    case "accepted":
      return { at, mark: "✓", text: `Accepted${by}${via}`, detail: e.text ?? "" };
    case "rejected":
      return { at, mark: "✕", text: `Rejected${by}${via}`, detail: e.text ?? "" };
    case "passed_on":
      return { at, mark: "→", text: `Passed on${by} to ${e.to ? isolate(e.to) : "somebody else"}`, detail: e.text ?? "" };
    case "silenced":
      return { at, mark: "◌", text: `Silenced${by}${until}${via}`, detail: e.text ?? "" };
    case "unsilenced":
      return { at, mark: "●", text: `Silence ended${by}`, detail: e.text ?? "" };
    case "escalated":
      return { at, mark: "↑", text: `Escalated to step ${e.step ?? ""}`, detail: e.text ?? "" };
    case "commented":
      return { at, mark: "“", text: `Comment${by}`, detail: e.text ?? "" };
    case "resolved":
      if (cameAgain(e)) return { at, mark: "■", text: "Came again; nobody had resolved it", detail: "" };
      return { at, mark: "■", text: `Resolved${by}`, detail: e.text ?? "" };
    default:
      return { at, mark: "·", text: e.type.replaceAll("_", " "), detail: e.text ?? "" };
  }
}

function evidence(e: Event): string {
  return because(e.condition?.evidence ?? []);
}

/** because says in words which readings and limits made a rule true. */
export function because(list: Partial<Evidence>[]): string {
  return list.map(fact).join(" · ");
}

function fact(e: Partial<Evidence>): string {
  const name = e.name ?? "";
  const v = vital(name);
  const value = (e.value ?? 0).toLocaleString("en-GB", { maximumFractionDigits: v?.decimals ?? 2 });
  const at = e.at ? ` at ${clock(e.at)}` : "";
  if (name.startsWith("limit.")) return `limit ${label(name.slice(6))} ${value}${unit(e.unit ?? "")}`;
  const over = /^(\w+)\((\w+)(?:, *"?(\w+)"?)?\)$/.exec(name);
  if (over) return windowed(over[1]!, label(over[2]!), over[3] ?? "", e.value ?? 0, value + unit(e.unit ?? ""));
  if (e.unit === "s") return `${label(name)} ${words((e.value ?? 0) * 1e6)}`;
  return `${label(name)} ${value}${unit(e.unit ?? "")}${at}`;
}

// windowed says what one of the rules' functions over a while came to.
function windowed(what: string, of: string, lasts: string, raw: number, value: string): string {
  switch (what) {
    case "age":
      return `no ${of} for ${words(raw * 1e6)}`;
    case "gone":
      return `${of} not found for ${words(raw * 1e6)}`;
    case "delta":
      return `${of} changed by ${value} in ${lasts}`;
    default:
      return `${what} ${of} ${value} in ${lasts}`;
  }
}

const label = (name: string): string => vital(name)?.label ?? name.replaceAll(/[._]/g, " ").replace(/^(hr|spo2|rr|temp|pulse)\b/, (n) => vital(n)?.label ?? n);

// What a gateway writes when it resolves an alert itself.
const again = "Raised again as a new episode";
const system = "system";

/** cameAgain says that an alert was resolved only because its condition came again. */
export function cameAgain(r: { by?: string; text?: string }): boolean {
  return r.by === system && r.text === again;
}

/** ending is how an alert that is over came to its end, in words. */
export function ending(a: Alert): string {
  const r = a.resolution;
  if (!r) return a.end_text || "ended by itself";
  if (cameAgain(r)) return `came again at ${clock(r.at)}; nobody had resolved it`;
  return r.by === system ? r.text || a.end_text : `resolved by ${isolate(r.by)}`;
}

/** acknowledgers are who acknowledged an alert, in words, from its story. */
export function acknowledgers(events: Event[]): string {
  const names = [...events].sort((a, b) => a.at - b.at).filter((e) => e.type === "acknowledged").map((e) => e.by || "somebody");
  return names.length === 0 ? "nobody acknowledged" : `acknowledged by ${[...new Set(names)].map(isolate).join(", ")}`;
}

/** seen is when it was last known that an alert's condition is true, 0 for now. away
 * is how long this screen has been cut off. A technical alert that was raised in a
 * silence is about it, and known. */
export function seen(a: Alert, s: Pick<State, "gateways" | "live">, away: Micros, now: Micros): Micros {
  const g = s.gateways[a.gateway];
  const silent = s.live[key(a.ward, a.bed)]?.silent_since ?? 0;
  const about = a.kind === "physiological" || a.onset < silent;
  const known = [away > 0 ? now - away : 0, g?.link === "down" ? g.since : 0, about ? silent : 0].filter((at) => at > 0);
  return known.length === 0 ? 0 : Math.max(a.onset, Math.min(...known));
}
