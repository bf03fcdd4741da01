// A stand-in for the cloud, for looking at the page while working on it: it speaks
// the contract of cloud/internal/api with invented patients. Nothing else uses it;
// what it says about the contract is worth nothing, the API's golden files say that.
//
//   node test/fake.mjs [--beds 12] [--calm] [--wards 1] [--port 8090] [--long]
//
// --long adds what is hard to lay out: long names, several alerts of one bed, and
// words that are written from right to left.
//
// Sign in with any name; the password "wrong" is refused, "locked" is locked out,
// and the name "tech" is a technician's. GET /fake/cut and /fake/link?up=0 take the
// live socket and a gateway's link away.
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";

const options = (argv) => {
  const get = (name, or) => (argv.includes(`--${name}`) ? Number(argv[argv.indexOf(`--${name}`) + 1]) : or);
  return { beds: get("beds", 12), wards: get("wards", 1), port: get("port", 8090), calm: argv.includes("--calm"), none: argv.includes("--none"), long: argv.includes("--long") };
};

const dist = join(dirname(fileURLToPath(import.meta.url)), "../dist");
const now = () => Date.now() * 1000;
const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const names = ["Ward 7 West", "Ward 8 East", "Ward 9 North"];
const limits = { "hr.extreme_high": 140, "hr.high": 120, "hr.low": 50, "hr.extreme_low": 40, "spo2.low": 90, "spo2.extreme_low": 85, "rr.high": 28, "rr.low": 8, "temp.high": 38.5 };
const ranks = { high: "***", medium: "**", low: "*" };

export function start(o) {
  const begun = now();
  let seq = 1000;
  let person = null;
  let cut = false;
  const wards = [];
  for (let w = 0; w < o.wards; w++) {
    const each = Math.ceil(o.beds / o.wards);
    const beds = [];
    for (let i = 0; i < each; i++) {
      const n = 12 + w * each + i;
      beds.push({ id: String(n), sensor: `LX-${1040 + n}`, patient: `P-0${190 + n}`, limits, expect: ["hr", "spo2", "rr", "temp"], gateway: `gw-${7 + w}w` });
    }
    wards.push({ id: `${7 + w}w`, name: names[w], beds });
  }
  const gateways = new Map(wards.map((w, i) => [`gw-${7 + i}w`, { id: `gw-${7 + i}w`, site: "st-anne", wards: [w.id], link: "up", since: begun - 86400e6, why: "", software: "0.2.0", revoked: false, pending: 0 }]));
  const alerts = new Map();
  const events = new Map();
  const raise = (bed, priority, kind, text, rule, ago, more = {}) => {
    const ward = wards.find((w) => w.beds.some((b) => b.id === bed))?.id ?? "7w";
    const id = (alerts.size + 1).toString(16).padStart(32, "a");
    const onset = begun - ago * 1e6;
    const a = {
      id, ward, bed, kind, priority, marks: ranks[priority], text, rule, code: "", onset, raised_at: onset + 6e6, ended_at: 0, phase: "active", late: false, latch: false, open: true,
      worst: priority, end_text: "", gateway: "gw-7w", sensor: "LX", evidence: [], ack: null, at_gateway: false, responsibility: null, resolution: null, comments: [], previous: "", version: ++seq, page: true, ...more,
    };
    alerts.set(id, a);
    events.set(id, [{ alert: id, author: "gateway", n: 1, type: "raised", at: a.raised_at, condition: { text, priority, evidence: a.evidence } }]);
    if (a.ended_at) events.get(id).push({ alert: id, author: "gateway", n: 2, type: "ended", at: a.ended_at, text: a.end_text });
    return a;
  };
  const ends = [
    { resolution: { by: "system", at: begun - 2000e6, text: "Raised again as a new episode" } },
    { resolution: { by: "N. Braun", at: begun - 6000e6, text: "Seen" } },
  ];
  const ev = (name, value, unit, limit, l) => [{ name, value, unit, at: begun - 20e6 }, { name: `limit.${limit}`, value: l, unit, at: 0 }];
  if (!o.calm && !o.none) {
    raise("12", "high", "physiological", "Heart rate 156 above 140 for 6 s", "hr-extreme-high", 34, { evidence: ev("hr", 156, "/min", "hr.extreme_high", 140) });
    raise("19", "medium", "physiological", "SpO2 88 below 90 for 15 s", "spo2-low", 190, { evidence: ev("spo2", 88, "%", "spo2.low", 90), ack: { by: "A. Meyer", at: begun - 150e6, until: begun + 252e6, via: "page" }, at_gateway: true, comments: [{ by: "A. Meyer", at: begun - 120e6, text: "Probe moved to the other hand" }] });
    raise("17", "medium", "physiological", "Respiration 31 above 28 for 20 s", "rr-high", 60, { evidence: ev("rr", 31, "/min", "rr.high", 28) });
    raise("14", "low", "technical", "Lead off: RA", "lead-off", 46);
    raise("21", "medium", "technical", "Sensor silent", "sensor-silent", 92);
    raise("16", "high", "physiological", "No heart beat for 4 s", "hr-absent", 700, { phase: "latched", latch: true, ended_at: begun - 660e6, end_text: "beats are back" });
  }
  if (!o.none && o.long) {
    raise("", "medium", "technical", "Gateway gw-7w: no data from the relay aa:bb:cc:dd:ee:ff for 1 min 20 s", "relay-offline", 86400 * 2);
    alerts.get([...alerts.keys()].at(-1)).gateway = "gw-7w-basement-north-of-the-old-building";
    raise("16", "high", "physiological", "Heart rate 156 above 140 for 6 s", "hr-extreme-high", 650, { ack: { by: "A. Meyer", at: begun - 600e6, until: begun + 900e6, via: "page" }, at_gateway: true });
    raise("13", "medium", "physiological", "No heart rate for 11 s although the sensor is heard and its leads are on", "hr-missing", 60);
    raise("13", "low", "technical", "Lead off: RA", "lead-off", 46, { comments: [{ by: "נועה לוי", at: begun - 20e6, text: "הוחלף 12 (ok) \u202egnirts" }] });
  }
  if (!o.none) for (let i = 0; i < 6; i++) raise(String(12 + (i % 3)), ["medium", "low", "high"][i % 3], i % 2 ? "technical" : "physiological", i % 2 ? "Lead off: LA" : "Heart rate 128 above 120 for 30 s", "x", 3000 + i * 4000, { open: false, phase: "ended", ended_at: begun - (2800 + i * 4000) * 1e6, end_text: "back within its limit for 30 s", ...ends[i] });

  const value = (bed, t) => {
    const n = Number(bed);
    const s = (p, a) => a * Math.sin(t / 1e6 / p + n * 1.7);
    const v = { hr: 68 + (n * 7) % 22 + s(41, 3) + s(7, 1), spo2: 96.4 + s(31, 1.2), rr: 14 + (n % 5) + s(23, 1.5), temp: 36.6 + (n % 4) * 0.1 };
    if (!o.calm && !o.none) {
      if (bed === "12" && t > begun - 40e6) Object.assign(v, { hr: 156 + s(5, 2), spo2: 94, rr: 22, temp: 37.9 });
      if (bed === "19") v.spo2 = 88 + s(9, 0.6);
      if (bed === "17") v.rr = 31 + s(9, 1);
    }
    return v;
  };
  const live = (w, b) => {
    const t = now();
    const silent = !o.calm && b.id === "21" ? begun - 104e6 : 0;
    const off = !o.calm && b.id === "14";
    const at = silent || t - (o.late ?? 0.4) * 1e6;
    const v = value(b.id, t);
    const all = Object.entries(v).map(([k, x]) => [k, [k === "temp" ? +x.toFixed(1) : Math.round(x), at, 98]]);
    return { bed: b.id, at, v: silent ? {} : Object.fromEntries(off ? all.filter(([k]) => k === "spo2" || k === "temp") : all), contact: !off, leads_off: off ? ["RA"] : [], silent_since: silent, battery: b.id === "15" ? 0.12 : 0.8 };
  };
  const line = (b) => {
    const hr = [];
    for (let i = 30; i > 0; i--) {
      const t = now() - i * 60e6;
      if (b.id === "18" && i > 10 && i < 16) continue;
      if (!o.calm && b.id === "21" && i < 3) continue;
      hr.push([t, value(b.id, t).hr]);
    }
    return { hr };
  };
  const change = (a) => {
    a.version = ++seq;
    send({ t: "change", cursor: String(seq), kind: "alert", alert: a, page: a.page && !a.ack });
    return a;
  };

  // An ECG by sums of bumps, 250 samples/s, 1 µV a count.
  const bump = (x, at, width, height) => height * Math.exp(-(((x - at) / width) ** 2));
  const ecg = (t, hr) => {
    const x = ((t / 1e6) * hr / 60) % 1;
    return bump(x, 0.18, 0.025, 0.14) + bump(x, 0.285, 0.008, -0.12) + bump(x, 0.3, 0.009, 1.1) + bump(x, 0.318, 0.009, -0.25) + bump(x, 0.5, 0.045, 0.28);
  };
  const frame = (ward, bed, code, start, f) => {
    const n = 244;
    const pad = Math.ceil((ward.length + bed.length) / 4) * 4;
    const b = Buffer.alloc(32 + pad + 2 * n);
    b.set([1, ward.length, bed.length, 0]);
    b.writeUInt32LE(code, 4);
    b.writeBigInt64LE(BigInt(start), 8);
    b.writeUInt32LE(4096, 16);
    b.writeUInt32LE(1, 20);
    b.writeUInt32LE(1000, 24);
    b.writeUInt32LE(n, 28);
    b.write(ward + bed, 32);
    for (let i = 0; i < n; i++) b.writeInt16LE(Math.round(1000 * f(start + i * 4096)), 32 + pad + 2 * i);
    return b;
  };

  const sockets = new Map();
  const send = (m) => {
    for (const s of sockets.keys()) s.send(JSON.stringify(m));
  };
  let wave = Math.floor((now() - 2e6) / (244 * 4096)) * 244 * 4096;
  const second = setInterval(() => {
    for (const w of wards) send({ t: "vitals", ward: w.id, at: now(), beds: w.beds.map((b) => live(w, b)) });
    for (const [s, watched] of sockets) {
      for (const k of watched) {
        const [ward, bed] = k.split("/");
        if (bed === "22" || (bed === "21" && !o.calm)) continue; // one sensor sends none, and one is silent
        const hr = value(bed, wave).hr;
        s.send(frame(ward, bed, 131330, wave, (t) => ecg(t, Math.round(hr / 4) * 4)));
        s.send(frame(ward, bed, 151780, wave, (t) => Math.sin((t / 1e6) * 2 * Math.PI * 0.25)));
      }
    }
    wave += 244 * 4096;
  }, 999.424);
  const ping = setInterval(() => send({ t: "ping", now: now() }), 5000);

  const web = createServer(async (q, r) => {
    const url = new URL(q.url, "http://fake");
    const json = (status, body, type = "application/json") => r.writeHead(status, { "Content-Type": type }).end(body === null ? "" : JSON.stringify(body));
    const problem = (status, reason, detail, more = {}) => json(status, { ...more, type: `urn:wardline:problem:${reason}`, title: reason, status, detail, reason }, "application/problem+json");
    r.setHeader("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'");
    let body = "";
    for await (const c of q) body += c;
    const sent = body ? JSON.parse(body) : {};
    const path = url.pathname;
    if (path === "/fake/cut") {
      cut = url.searchParams.get("on") !== "0";
      for (const s of sockets.keys()) s.terminate();
      return json(200, { cut });
    }
    if (path === "/fake/link") {
      const g = gateways.get(url.searchParams.get("gateway") ?? "gw-7w");
      Object.assign(g, { link: url.searchParams.get("up") === "0" ? "down" : "up", since: now() });
      send({ t: "change", cursor: String(++seq), kind: "gateway", gateway: g });
      return json(200, g);
    }
    if (!path.startsWith("/api/")) {
      const file = path === "/" ? "/index.html" : path;
      try {
        return r.writeHead(200, { "Content-Type": types[extname(file)] ?? "text/plain" }).end(readFileSync(join(dist, file)));
      } catch {
        return r.writeHead(404).end();
      }
    }
    const p = path.slice("/api/v1".length).split("/").map(decodeURIComponent);
    if (p[1] === "session" && p[2] === "password") {
      if (sent.old === "wrong") return problem(403, "wrong_password", "The old password is wrong. Nothing was changed.");
      return r.writeHead(204).end();
    }
    if (p[1] === "session") {
      if (q.method === "DELETE") person = null;
      if (q.method === "DELETE") return r.writeHead(204).end();
      if (q.method === "POST") {
        if (sent.password === "wrong") return problem(401, "wrong_password", "The name or the password is wrong. After 5 wrong tries in 15 minutes the account is locked.");
        if (sent.password === "locked") return problem(423, "locked", "This account is locked for 15 minutes after five wrong passwords.", { until: now() + 900e6 });
        const tech = sent.name === "tech";
        person = { name: sent.name, display: tech ? "T. Brandt" : "A. Meyer", role: tech ? "technician" : "clinician", wards: ["*"], may: tech ? ["gateways.read", "gateways.manage"] : ["patients.read", "alerts.act", "gateways.read"], until: now() + 86400e6 };
      }
      return person ? json(200, person) : problem(401, "not_signed_in", "Sign in first.");
    }
    if (!person) return problem(401, "not_signed_in", "Sign in first.");
    if (p[1] === "wards" && p.length === 2) return json(200, { wards: o.none ? [] : wards });
    if (p[1] === "gateways") return json(200, { gateways: o.none ? [] : [...gateways.values()] });
    if (p[5] === "trend") return json(200, trend(p[4], Number(url.searchParams.get("from")), Number(url.searchParams.get("to"))));
    if (p[1] === "alerts" && p.length === 2) {
      const s = url.searchParams;
      const items = [...alerts.values()].filter((a) => (s.get("state") === "ended" ? !a.open : s.get("state") !== "open" || a.open) && (!s.get("bed") || a.bed === s.get("bed")));
      return json(200, { items: items.sort((a, b) => b.onset - a.onset), next: "" });
    }
    const a = alerts.get(p[2]);
    if (!a) return problem(404, "not_found", "There is no such alert.");
    if (p.length === 3) return json(200, { ...a, events: events.get(a.id) });
    const log = (type, more = {}) => events.get(a.id).push({ alert: a.id, author: "board", n: 9, type, at: now(), by: person.display, via: "page", ...more });
    if (p[3] === "acknowledge") (a.ack = { by: person.display, at: now(), until: now() + 600e6, via: "page" }), log("acknowledged", { until: a.ack.until });
    if (p[3] === "withdraw") (a.ack = null), log("acknowledgement_expired");
    if (p[3] === "comment") a.comments.push({ by: person.display, at: now(), text: sent.text }), log("commented", { text: sent.text });
    if (p[3] === "resolve") {
      if (a.phase === "active") return problem(409, "still_true", "The condition is still true: acknowledge it instead.");
      Object.assign(a, { open: false, resolution: { by: person.display, at: now(), text: sent.text } });
      log("resolved", { text: sent.text });
    }
    return json(200, change(a));
  });

  const trend = (bed, from, to) => {
    const step = (to - from) / 360;
    const hole = [to - (to - from) * 0.45, to - (to - from) * 0.38];
    const late = [hole[0] - (to - from) * 0.12, hole[0]];
    const vitals = { hr: [], spo2: [], rr: [], temp: [] };
    for (let i = 0; i < 360; i++) {
      const at = Math.round(from + i * step);
      if ((at > hole[0] && at < hole[1]) || (bed === "21" && !o.calm && at > begun - 104e6)) continue;
      for (const [k, x] of Object.entries(value(bed, at))) {
        const r = { hr: 5, spo2: 1, rr: 2, temp: 0.1 }[k];
        vitals[k].push([at, x - r, x, x + r]);
      }
    }
    return { from, to, step: Math.round(step), vitals, holes: [{ from: hole[0], to: hole[1], reason: "evicted" }], late: [{ from: late[0], to: late[1] }] };
  };

  const ws = new WebSocketServer({ noServer: true });
  web.on("upgrade", (q, socket, head) => {
    if (cut || !person) return socket.destroy();
    ws.handleUpgrade(q, socket, head, (s) => {
      s.on("message", (text) => {
        const m = JSON.parse(text);
        if (m.t === "hello") {
          sockets.set(s, sockets.get(s) ?? new Set());
          const mine = o.none ? [] : wards.filter((w) => !m.wards?.length || m.wards.includes(w.id));
          s.send(JSON.stringify({ t: "snapshot", cursor: String(seq), now: now(), wards: mine.map((w, i) => ({ id: w.id, name: w.name, gateways: [gateways.get(w.beds[0].gateway)], beds: w.beds.map((b) => ({ ...b, live: live(w, b), line: line(b) })) })), alerts: [...alerts.values()].filter((a) => a.open) }));
        }
        if (m.t === "wave") sockets.get(s)?.[m.on ? "add" : "delete"](`${m.ward}/${m.bed}`);
      });
      s.on("close", () => sockets.delete(s));
    });
  });
  return new Promise((done) =>
    web.listen(o.port, () =>
      done({
        url: `http://localhost:${web.address().port}`,
        change,
        raise: (...x) => change(raise(...x)),
        watched: () => [...sockets.values()].flatMap((s) => [...s]),
        close: () => {
          clearInterval(second);
          clearInterval(ping);
          for (const s of sockets.keys()) s.terminate();
          web.closeAllConnections();
          web.close();
        },
      }),
    ),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(`the fake cloud is at ${(await start(options(process.argv))).url}`);
