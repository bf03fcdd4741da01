// The REST part of the API. Every failure is a Refusal, in words for a person.

import type { Alert, AlertStory, Gateway, Person, Problem, Trend, Ward } from "./contract";
import { clockZone } from "./format";

/** Refusal is what the cloud refused, or that it could not be asked (status 0). */
export class Refusal extends Error {
  readonly status: number;
  readonly reason: string;
  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

const noAnswer = "The cloud does not answer. Alerts in the ward are not affected. Check the network and try again.";

async function call<T>(method: string, path: string, body?: unknown, idempotency?: string): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (idempotency) headers["Idempotency-Key"] = idempotency;
  let r: Response;
  try {
    r = await fetch(`/api/v1${path}`, {
      method,
      headers,
      credentials: "same-origin",
      cache: "no-store",
      signal: AbortSignal.timeout(10_000),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new Refusal(0, "no_answer", noAnswer);
  }
  if (r.status === 204) return undefined as T;
  const text = await r.text();
  if (r.ok) return JSON.parse(text) as T;
  throw refusal(r.status, text, r.headers.get("Retry-After"));
}

/** refusal puts a problem of the API in words. */
export function refusal(status: number, text: string, retryAfter: string | null): Refusal {
  let p: Partial<Problem> = {};
  try {
    p = JSON.parse(text) as Problem;
  } catch {
    // Not from our cloud: a proxy's page, perhaps.
  }
  let words = p.detail || p.title || (status >= 500 ? "The cloud could not do it. Try again." : `The cloud refused it (${status}).`);
  const wait = Number(retryAfter);
  if (p.until && status !== 503) words += ` ${status === 423 ? "Locked until" : "Not before"} ${clockZone(p.until)}.`;
  else if (wait > 0 && !/\d/.test(words)) words += ` Try again in ${wait < 90 ? `${wait} s` : `${Math.ceil(wait / 60)} min`}.`;
  return new Refusal(status, p.reason ?? "", words);
}

const query = (o: Record<string, string | number | undefined>): string => {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(o)) if (v !== undefined && v !== "") q.set(k, String(v));
  return q.size ? `?${q}` : "";
};

const id = encodeURIComponent;

const newKey = (): string => crypto.randomUUID?.() ?? String(Math.random());
const act = <T>(a: string, what: string, body: unknown, key = newKey()) => call<T>("POST", `/alerts/${id(a)}/${what}`, body, key);

// A comment that got no answer may have been written: asked for again with the same
// key, it is not written twice. The other acts have a new key each time. Twice they
// do no harm; and the cloud, which remembers a key for days, would pass over an
// acknowledgement that is pressed again after the first, unanswered one ran out.
const unanswered = new Map<string, string>();

async function comment(a: string, text: string): Promise<Alert> {
  const same = `${a} ${text}`;
  const key = unanswered.get(same) ?? newKey();
  unanswered.set(same, key);
  try {
    const done = await act<Alert>(a, "comment", { text }, key);
    unanswered.delete(same);
    return done;
  } catch (e) {
    // What a proxy or a failing cloud says is no word on whether it was written.
    if (e instanceof Refusal && e.status >= 400 && e.status < 500) unanswered.delete(same);
    throw e;
  }
}

export const api = {
  signIn: (name: string, password: string) => call<Person>("POST", "/session", { name, password }),
  session: () => call<Person>("GET", "/session"),
  signOut: () => call<void>("DELETE", "/session"),
  password: (old: string, next: string) => call<void>("POST", "/session/password", { old, new: next }),
  wards: () => call<{ wards: Ward[] | null }>("GET", "/wards"),
  alerts: (o: { ward?: string; bed?: string; state: "open" | "ended" | "all"; limit?: number; after?: string }) =>
    call<{ items: Alert[] | null; next: string }>("GET", `/alerts${query(o)}`),
  alert: (a: string) => call<AlertStory>("GET", `/alerts/${id(a)}`),
  acknowledge: (a: string) => act<Alert>(a, "acknowledge", {}),
  withdraw: (a: string) => act<Alert>(a, "withdraw", {}),
  comment,
  resolve: (a: string, text: string) => act<Alert>(a, "resolve", { text }),
  trend: (ward: string, bed: string, from: number, to: number, points: number) =>
    call<Trend>("GET", `/wards/${id(ward)}/beds/${id(bed)}/trend${query({ from, to, points })}`),
  gateways: () => call<{ gateways: Gateway[] | null }>("GET", "/gateways"),
  revoke: (g: string) => call<void>("POST", `/gateways/${id(g)}/revoke`, {}),
};
