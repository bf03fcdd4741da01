// What the cloud sends and takes, as in cloud/internal/api. Instants are µs since
// 1970 UTC; what is null is not known or not so.

/** commentLimit is how many characters the API takes as a comment. */
export const commentLimit = 500;
/** passwordLeast and passwordMost are the API's bounds of a new password's length. */
export const passwordLeast = 12;
export const passwordMost = 256;

export type Micros = number;
export type Priority = "high" | "medium" | "low";
export type Kind = "physiological" | "technical";

export interface Person {
  name: string;
  display: string;
  role: "viewer" | "clinician" | "lead" | "technician" | "administrator";
  wards: string[];
  may: string[];
  until: Micros;
}

export interface Bed {
  id: string;
  sensor: string;
  patient: string;
  limits: Record<string, number> | null;
  expect: string[] | null;
  gateway: string;
}

export interface Ward {
  id: string;
  name: string;
  beds: Bed[];
}

export interface Evidence {
  name: string;
  value: number;
  unit: string;
  at: Micros;
}

export interface Ack {
  by: string;
  at: Micros;
  until: Micros; // 0 = until the condition ends
  via: string;
}

export interface Alert {
  id: string;
  ward: string;
  bed: string;
  kind: Kind;
  priority: Priority;
  marks: string;
  text: string;
  rule: string;
  code: string;
  onset: Micros;
  raised_at: Micros;
  ended_at: Micros;
  phase: "active" | "latched" | "ended";
  late: boolean;
  latch: boolean;
  open: boolean;
  worst: Priority;
  end_text: string;
  gateway: string;
  sensor: string;
  evidence: Evidence[] | null;
  ack: Ack | null;
  at_gateway: boolean;
  responsibility: { type: "accepted" | "rejected" | "passed_on"; by: string; at: Micros } | null;
  resolution: { by: string; at: Micros; text: string } | null;
  comments: { by: string; at: Micros; text: string }[] | null;
  previous: string;
  version: number;
  page: boolean;
}

/** One event of an alert's story, as both tiers keep it. */
export interface Event {
  author: "gateway" | "board";
  n: number;
  type: string;
  at: Micros;
  late?: boolean;
  condition?: { text: string; priority: Priority; evidence?: Partial<Evidence>[] };
  by?: string;
  via?: string;
  until?: Micros;
  text?: string;
  step?: number;
  to?: string;
}

export interface AlertStory extends Alert {
  events: Event[];
}

export interface Gateway {
  id: string;
  site: string;
  wards: string[] | null;
  link: "up" | "down" | "never";
  since: Micros;
  why: string; // why there is no link; "refused: …" while the cloud sends the gateway away
  software: string;
  revoked: boolean;
  pending: number;
}

export type Reading = [value: number, at: Micros, quality: number];
export type LinePoint = [at: Micros, mean: number];

export interface BedLive {
  bed: string;
  at: Micros;
  v: Record<string, Reading> | null;
  contact: boolean | null;
  leads_off: string[] | null;
  silent_since: Micros; // 0 while the sensor speaks
  battery: number | null; // share of a full battery
}

export interface SnapshotBed extends Bed {
  live: BedLive | null;
  line: Record<string, LinePoint[]> | null;
}

export interface SnapshotWard {
  id: string;
  name: string;
  beds: SnapshotBed[];
  gateways: Gateway[] | null;
}

export interface Problem {
  title: string;
  status: number;
  detail: string;
  reason: string;
  until?: Micros;
  fields?: { where: string; what: string }[];
}

export type Down =
  | { t: "snapshot"; cursor: string; now: Micros; wards: SnapshotWard[]; alerts: Alert[] | null }
  | { t: "change"; cursor: string; kind: "alert"; alert: Alert; page?: boolean }
  | { t: "change"; cursor: string; kind: "gateway"; gateway: Gateway }
  | { t: "change"; cursor: string; kind: "ward"; ward: Ward }
  | { t: "vitals"; ward: string; at: Micros; beds: BedLive[] }
  | { t: "gap" }
  | { t: "ping"; now: Micros }
  | { t: "error"; problem: Problem };

export type Up =
  | { t: "hello"; cursor: string; wards: string[] }
  | { t: "wave"; ward: string; bed: string; on: boolean }
  | { t: "sound"; on: boolean }
  | { t: "pong"; now: Micros };

export interface Trend {
  from: Micros;
  to: Micros;
  step: Micros;
  vitals: Record<string, [at: Micros, min: number, mean: number, max: number][]>;
  holes: { from: Micros; to: Micros; reason: string }[] | null;
  late: { from: Micros; to: Micros }[] | null;
}
