// The live socket: it connects for ever, goes on from its cursor, and says how
// long the page has heard nothing.
//
// It owns no state of the wards: what arrives goes to a function, and the cursor
// is asked for when it is needed. Its surroundings (the socket, the timers, the
// clock, chance) are arguments, so that the tests run it in fake time.

import type { Down, Micros, Up } from "./contract";

export const lostAfter = 12_000; // ms without any message
const closedAfter = 3_000; // ms since the socket was closed, when it was
export const answerWithin = 8_000; // ms from an attempt to its first message; then it is given up
const patience = 2; // a line that is slow, and not dead, gets up to so many times as long
const firstRetry = 500;
const lastRetry = 5_000;

export interface Socket {
  send(text: string): void;
  close(): void;
  onopen: ((e: never) => void) | null;
  onmessage: ((e: never) => void) | null;
  onclose: ((e: never) => void) | null;
}

export interface Surroundings {
  open(): Socket;
  cursor(): string;
  wards(): string[]; // none = all that the person may see
  take(m: Down, offset: Micros): void;
  wave(frame: ArrayBuffer): void;
  refused(): void; // a connection was closed before anything came: is the session still good?
  now(): number; // ms of this machine
  random(): number; // [0, 1)
}

export class Live {
  #s: Surroundings;
  #socket: Socket | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watch: ReturnType<typeof setInterval> | undefined;
  #failures = 0;
  #heard: number; // when anything came last, ms
  #tried = 0; // when the socket was asked for, ms
  #hung = 0; // attempts given up since anything came
  #closed: number | null = null; // when the socket was closed, null while one is open and was heard
  #clock = new Offset();
  #kept = new Map<string, Up>(); // what a new connection has to be told again

  constructor(s: Surroundings) {
    this.#s = s;
    this.#heard = s.now();
  }

  start(): void {
    this.#watch = setInterval(() => this.#check(), 1000);
    this.#connect();
  }

  stop(): void {
    clearInterval(this.#watch);
    clearTimeout(this.#timer);
    this.#drop();
  }

  /** again connects at once: the network came back, or other wards are wanted. */
  again(): void {
    this.#drop();
    this.#failures = 0;
    clearTimeout(this.#timer);
    this.#connect();
  }

  /** offset is what this machine's clock lacks to the cloud's, µs. */
  get offset(): Micros {
    return this.#clock.offset;
  }

  /** live says that messages come. */
  get live(): boolean {
    return this.#closed === null && this.#heard > 0;
  }

  /** away is for how many ms nothing has come, once that means that the page is
   * cut off; 0 before. */
  away(): number {
    const silent = this.#s.now() - this.#heard;
    const lost = silent >= lostAfter || (this.#closed !== null && this.#s.now() - this.#closed >= closedAfter);
    return lost ? Math.max(1, silent) : 0;
  }

  /** tell sends m when it can. With a name it is sent again on each new
   * connection, until something else, or null, is told under that name. */
  tell(m: Up | null, name?: string): void {
    if (name !== undefined) {
      if (m) this.#kept.set(name, m);
      else this.#kept.delete(name);
    }
    if (m && this.#closed === null) this.#send(m);
  }

  #connect(): void {
    const socket = this.#s.open();
    this.#socket = socket;
    this.#tried = this.#s.now();
    this.#closed ??= this.#s.now();
    let heard = false;
    socket.onopen = () => {
      this.#send({ t: "hello", cursor: this.#s.cursor(), wards: this.#s.wards() });
      for (const m of this.#kept.values()) this.#send(m);
    };
    socket.onmessage = (e: { data: unknown }) => {
      if (socket !== this.#socket) return;
      heard = true;
      this.#heard = this.#s.now();
      this.#closed = null;
      this.#failures = 0;
      this.#hung = 0;
      this.#take(e.data);
    };
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      this.#socket = null;
      this.#closed ??= this.#s.now();
      if (!heard) this.#s.refused();
      this.#retry();
    };
  }

  #take(data: unknown): void {
    if (data instanceof ArrayBuffer) return this.#s.wave(data);
    const m = JSON.parse(String(data)) as Down;
    if (m.t === "snapshot" || m.t === "ping") this.#clock.hear(m.now, this.#s.now());
    this.#s.take(m, this.#clock.offset);
    if (m.t === "ping") this.#send({ t: "pong", now: m.now });
    if (m.t === "gap") this.#send({ t: "hello", cursor: "", wards: this.#s.wards() });
  }

  // A half-open connection accepts writes for minutes, and one that is being made
  // can hang for as long: only silence shows it.
  #check(): void {
    if (!this.#socket) return;
    const now = this.#s.now();
    const hangs = this.#closed !== null; // this socket has said nothing yet
    const most = Math.min(patience, 1 + this.#hung) * answerWithin;
    if (hangs ? now - this.#tried < most : now - this.#heard < lostAfter) return;
    if (hangs) this.#hung++;
    this.#drop();
    this.#closed ??= now;
    this.#retry();
  }

  #retry(): void {
    const most = Math.min(lastRetry, firstRetry * 2 ** this.#failures++);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), firstRetry + this.#s.random() * (most - firstRetry));
  }

  #send(m: Up): void {
    try {
      this.#socket?.send(JSON.stringify(m));
    } catch {
      // Not open yet or no longer: what matters is told again on the next connection.
    }
  }

  #drop(): void {
    const old = this.#socket;
    this.#socket = null;
    old?.close();
  }
}

/** Offset finds what this machine's clock lacks to the cloud's. A message that
 * took long makes the cloud look late, never early, so the greatest of the last
 * few differences is the best. */
export class Offset {
  #seen: number[] = [];

  hear(cloud: Micros, machine: number): void {
    this.#seen = [...this.#seen.slice(-11), cloud - machine * 1000];
  }

  get offset(): Micros {
    return this.#seen.length ? Math.max(...this.#seen) : 0;
  }
}
