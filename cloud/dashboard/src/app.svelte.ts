// The shell: holds the state, the clock, the connection, the sound and this
// screen's settings, and joins them. Views read it; decisions are in the pure files.

import { api, Refusal } from "./api";
import type { Alert, Micros, Person } from "./contract";
import { Live, type Socket } from "./live";
import { count, current } from "./select";
import { choose, hush, type Mute } from "./sound";
import { Sounder } from "./sounder";
import { apply, empty, key, type State, took } from "./state";
import { decode, Track } from "./wave";

export type Route =
  | { view: "wall" }
  | { view: "alerts" }
  | { view: "history" }
  | { view: "gateways" }
  | { view: "bed"; ward: string; bed: string };

export interface Settings {
  theme: "dark" | "light" | "contrast";
  order: "places" | "urgency";
  patients: boolean; // off is privacy mode, the default on a wall
  ward: string; // "" = all that the person may see
}

export interface Toast {
  id: number;
  text: string;
  bad: boolean;
  until: number; // ms of this machine
  undo: (() => void) | null;
}

const undoFor = 5_000;
const defaults: Settings = { theme: "dark", order: "places", patients: false, ward: "" };

class App {
  person = $state.raw<Person | null>(null);
  asked = $state(false); // whether it is known if somebody is signed in
  why = $state(""); // why sign-in is asked for again
  state = $state.raw<State>(empty);
  now = $state<Micros>(Date.now() * 1000); // by the cloud's clock, once a second
  received = $state<Micros>(0); // when live values came last, by the cloud's clock
  away = $state<Micros>(0); // how long this screen has been cut off, 0 while it is not
  connected = $state(false); // messages come
  problem = $state(""); // what the live socket was refused
  held = $state(false); // the browser holds sound back
  mute = $state.raw<Mute | null>(null);
  route = $state.raw<Route>({ view: "wall" });
  settings = $state.raw<Settings>(load());
  toasts = $state.raw<Toast[]>([]);
  busy = $state.raw<Record<string, boolean>>({}); // alerts with an act on its way
  says = $state(""); // for a screen reader: new high alerts
  full = $state(false);
  finding = $state(false); // the bed finder is shown
  keys = $state(false); // the list of keys is shown
  password = $state(false); // the dialog for a new password is shown
  focus = $state(""); // the tile that the keyboard is on

  alerts = $derived(current(this.state)); // the open ones, as far as they are true here
  counts = $derived(count(this.alerts));
  sounds = $derived(choose(this.state.alerts, this.now, this.mute));

  #live: Live | null = null;
  #sounder = new Sounder((held) => this.#heldChanged(held));
  #tracks = new Map<string, Map<number, Track>>();
  #watched = new Map<string, number>();
  #lock: WakeLockSentinel | null = null;
  #toast = 0;

  /** begin asks who is signed in, and shows the page while it waits. */
  async begin(): Promise<void> {
    this.#routed();
    addEventListener("hashchange", () => this.#routed());
    addEventListener("online", () => this.#live?.again());
    addEventListener("pointerdown", () => this.person && this.held && this.soundOn());
    document.addEventListener("visibilitychange", () => this.#visible());
    document.addEventListener("fullscreenchange", () => (this.full = document.fullscreenElement !== null));
    this.#tick();
    try {
      this.#enter(await api.session());
    } catch (e) {
      if (e instanceof Refusal && e.status === 0) this.why = e.message;
    }
    this.asked = true;
  }

  async signIn(name: string, password: string): Promise<void> {
    this.#enter(await api.signIn(name, password));
  }

  async signOut(): Promise<void> {
    await api.signOut().catch(() => undefined);
    this.#leave("");
  }

  /** changePassword throws what the cloud refused, in words. */
  async changePassword(old: string, next: string): Promise<void> {
    try {
      await api.password(old, next);
    } catch (e) {
      if (e instanceof Refusal && e.status === 401) void this.#checkSession();
      throw e;
    }
    this.tell("Your password is changed. Everywhere else you are signed out.", false);
  }

  may(permission: string): boolean {
    return this.person?.may.includes(permission) ?? false;
  }

  #enter(p: Person): void {
    this.person = p;
    this.why = "";
    if (p.may.includes("patients.read")) {
      if (matchMedia("(max-width: 640px)").matches && !location.hash) location.replace("#/alerts");
      void this.#sounder.start();
      this.#connect();
    }
  }

  #leave(why: string): void {
    this.#live?.stop();
    this.#live = null;
    this.#sounder.play(null);
    this.person = null;
    this.password = false;
    this.state = empty;
    this.away = 0;
    this.connected = false;
    this.why = why;
    this.#tracks.clear();
  }

  #connect(): void {
    this.#live?.stop();
    this.#live = new Live({
      open: () => {
        const s = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/live`);
        s.binaryType = "arraybuffer";
        return s as unknown as Socket;
      },
      cursor: () => this.state.cursor,
      wards: () => (this.settings.ward ? [this.settings.ward] : []),
      take: (m) => {
        if (m.t === "error") {
          this.problem = m.problem.detail || m.problem.title;
          if (m.problem.status === 401) void this.#checkSession();
          else if (m.problem.reason === "other_ward" && this.settings.ward) this.set({ ward: "" }); // another person's choice
          return;
        }
        const before = this.state;
        this.state = apply(before, m);
        this.problem = "";
        if (m.t === "change" && m.kind === "alert") this.#announce(before, m.alert);
        if (m.t === "vitals" || m.t === "snapshot") this.received = this.instant();
        if (m.t === "snapshot") this.#tickNow();
        if (!this.connected) this.connected = true;
      },
      wave: (b) => this.#wave(b),
      refused: () => void this.#checkSession(),
      now: () => Date.now(),
      random: () => Math.random(),
    });
    this.#live.start();
  }

  async #checkSession(): Promise<void> {
    try {
      this.person = await api.session();
    } catch (e) {
      if (e instanceof Refusal && e.status === 401) this.#leave("Your session has ended. Sign in again.");
    }
  }

  // The clock ticks on the cloud's full second, so that every age on every screen
  // changes together.
  #tick(): void {
    this.#tickNow();
    const part = Math.floor(this.now / 1000) % 1000;
    setTimeout(() => this.#tick(), 1000 - part + 5);
  }

  #tickNow(): void {
    this.now = this.instant();
    this.away = (this.#live?.away() ?? 0) * 1000;
    this.connected = this.#live?.live ?? false;
    if (this.mute && this.mute.until <= this.now) this.mute = null;
    if (this.toasts.some((t) => t.until <= Date.now())) this.toasts = this.toasts.filter((t) => t.until > Date.now());
  }

  /** instant is now by the cloud's clock, between two ticks. */
  instant(): Micros {
    return Date.now() * 1000 + (this.#live?.offset ?? 0);
  }

  #announce(before: State, a: Alert): void {
    const old = before.alerts[a.id];
    if (a.open && a.priority === "high" && old?.priority !== "high") {
      this.says = `High priority${a.bed ? `, bed ${a.bed}` : ""}: ${a.text}`;
    }
  }

  // Acts. One touch, then the cloud's answer; the feed brings the same again.

  acknowledge(a: Alert): void {
    if (!this.may("alerts.act")) return this.tell("Your role may look at alerts but not acknowledge them.", true);
    void this.#act(a, () => api.acknowledge(a.id), (done) => {
      const where = a.bed ? `bed ${a.bed}` : a.gateway;
      this.tell(`Acknowledged ${where}: ${a.text}`, false, () => void this.#act(done, () => api.withdraw(a.id)));
    });
  }

  withdraw(a: Alert): void {
    void this.#act(a, () => api.withdraw(a.id));
  }

  comment(a: Alert, text: string): Promise<boolean> {
    return this.#act(a, () => api.comment(a.id, text));
  }

  resolve(a: Alert, text: string): Promise<boolean> {
    return this.#act(a, () => api.resolve(a.id, text || "Resolved on the page, without a comment"));
  }

  async #act(a: Alert, ask: () => Promise<Alert>, then?: (a: Alert) => void): Promise<boolean> {
    if (this.busy[a.id]) return false;
    this.busy = { ...this.busy, [a.id]: true };
    try {
      const done = await ask();
      this.state = took(this.state, done);
      then?.(done);
      return true;
    } catch (e) {
      if (e instanceof Refusal && e.status === 401) void this.#checkSession();
      this.tell(e instanceof Error ? e.message : "It did not work. Try again.", true);
      return false;
    } finally {
      const { [a.id]: _, ...rest } = this.busy;
      this.busy = rest;
    }
  }

  tell(text: string, bad: boolean, undo: (() => void) | null = null): void {
    const t = { id: ++this.#toast, text, bad, undo, until: Date.now() + (undo ? undoFor : 8_000) };
    this.toasts = [...this.toasts.filter((x) => !x.undo || x.until > Date.now()), t].slice(-3);
    setTimeout(() => this.dismiss(t.id), t.until - Date.now());
  }

  dismiss(id: number): void {
    this.toasts = this.toasts.filter((t) => t.id !== id);
  }

  // Sound.

  soundOn(): void {
    void this.#sounder.start();
  }

  muteHere(): void {
    this.mute = this.mute ? null : hush(this.state.alerts, this.now);
  }

  /** play follows what sounds; called by the page's root. */
  play(a: Alert | null): void {
    this.#sounder.play(a ? { priority: a.priority, kind: a.kind } : null);
  }

  #heldChanged(held: boolean): void {
    this.held = held;
    this.#live?.tell({ t: "sound", on: !held }, "sound");
  }

  // Waves are asked for while somebody looks, and only then.

  watch(ward: string, bed: string): () => void {
    const k = key(ward, bed);
    this.#watched.set(k, (this.#watched.get(k) ?? 0) + 1);
    this.#askWave(ward, bed);
    return () => {
      const n = (this.#watched.get(k) ?? 1) - 1;
      if (n > 0) this.#watched.set(k, n);
      else this.#watched.delete(k);
      this.#askWave(ward, bed);
    };
  }

  #askWave(ward: string, bed: string): void {
    const k = key(ward, bed);
    const on = this.#watched.has(k) && !document.hidden;
    const m = { t: "wave", ward, bed, on } as const;
    if (on) return this.#live?.tell(m, `wave ${k}`);
    this.#live?.tell(null, `wave ${k}`);
    this.#live?.tell(m);
    this.#tracks.delete(k);
  }

  /** tracks are the waves of a bed that have come, by lead. */
  tracks(ward: string, bed: string): Map<number, Track> | undefined {
    return this.#tracks.get(key(ward, bed));
  }

  #wave(b: ArrayBuffer): void {
    const c = decode(b);
    if (!c || !this.#watched.has(key(c.ward, c.bed))) return;
    const k = key(c.ward, c.bed);
    const leads = this.#tracks.get(k) ?? new Map<number, Track>();
    const track = leads.get(c.lead) ?? new Track();
    track.add(c);
    track.came = this.instant();
    this.#tracks.set(k, leads.set(c.lead, track));
  }

  #visible(): void {
    for (const k of this.#watched.keys()) {
      const slash = k.indexOf("/");
      this.#askWave(k.slice(0, slash), k.slice(slash + 1));
    }
    if (!document.hidden) {
      this.#tickNow();
      if (this.full) void this.#keepAwake();
    }
  }

  // This screen.

  set(change: Partial<Settings>): void {
    const ward = this.settings.ward;
    this.settings = { ...this.settings, ...change };
    try {
      localStorage.setItem("wardline", JSON.stringify(this.settings));
    } catch {
      // A browser that keeps nothing: the setting holds until the page is closed.
    }
    if (this.settings.ward !== ward) {
      this.state = { ...this.state, cursor: "" }; // other wards need their own snapshot
      this.#live?.again();
    }
  }

  async fullScreen(): Promise<void> {
    if (document.fullscreenElement) {
      await this.#lock?.release().catch(() => undefined);
      return document.exitFullscreen();
    }
    await document.documentElement.requestFullscreen().catch(() => this.tell("This browser does not allow full screen.", true));
    await this.#keepAwake();
  }

  async #keepAwake(): Promise<void> {
    try {
      this.#lock = (await navigator.wakeLock?.request("screen")) ?? null;
    } catch {
      this.tell("This browser may switch the screen off: it does not allow keeping it awake.", true);
    }
  }

  #routed(): void {
    const [view = "", ...rest] = location.hash.replace(/^#\//, "").split("/").map(decodeURIComponent);
    const [ward, bed] = rest;
    if (view === "bed" && ward && bed) this.route = { view: "bed", ward, bed };
    else if (view === "history" || view === "gateways" || view === "alerts") this.route = { view };
    else this.route = { view: "wall" };
  }
}

function load(): Settings {
  try {
    return { ...defaults, ...(JSON.parse(localStorage.getItem("wardline") ?? "{}") as Partial<Settings>) };
  } catch {
    return defaults;
  }
}

export const bedLink = (ward: string, bed: string): string => `#/bed/${encodeURIComponent(ward)}/${encodeURIComponent(bed)}`;

export const app = new App();
