// Uses the page as a clinician would, against the fake cloud, in Chromium: keys,
// acts and their undo, waves asked for only while somebody looks, a break and what
// follows it, and a long look at whether the wall stays light.
//
//   [ONLY=a part of names] node test/use.mjs [path of Chromium]
import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import { start } from "./fake.mjs";

const browser = await chromium.launch({
  executablePath: process.argv[2] ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

async function test(name, options, steps) {
  if (process.env.ONLY && !name.match(process.env.ONLY)) return;
  const cloud = await start({ beds: 12, wards: 1, port: 0, calm: false, none: false, ...options });
  const page = await browser.newPage({ viewport: { width: 1920, height: 1080 } });
  page.setDefaultTimeout(15_000);
  const broken = [];
  page.on("pageerror", (e) => broken.push(e.message));
  page.on("console", (m) => /Content Security Policy/.test(m.text()) && broken.push(m.text()));
  try {
    await page.goto(cloud.url);
    await page.fill("#name", "meyer");
    await page.fill("#password", "right");
    await page.click("button[type=submit]");
    await page.waitForSelector(".tile");
    await steps(page, cloud);
    assert.deepEqual(broken, []);
    console.log(`ok   ${name}`);
  } catch (e) {
    process.exitCode = 1;
    console.log(`FAIL ${name}: ${e.stack}`);
  }
  await page.close();
  cloud.close();
}

const focused = (page) => page.evaluate(() => document.activeElement?.dataset?.bed);
const until = async (what, ask) => {
  for (let i = 0; i < 150; i++) {
    if (await ask()) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  assert.fail(`never: ${what}`);
};

await test("a wrong password is refused in words and the right one lets in", {}, async (page) => {
  await page.click("text=Screen");
  await page.click("text=Sign out");
  await page.fill("#name", "meyer");
  await page.fill("#password", "wrong");
  await page.click("button[type=submit]");
  await page.waitForSelector("text=The name or the password is wrong");
});

await test("arrows go from tile to tile, Enter opens one and Escape comes back to it", {}, async (page) => {
  await page.focus(".tile >> nth=0");
  for (const [key, bed] of [["ArrowRight", "13"], ["ArrowDown", "17"], ["ArrowLeft", "16"], ["ArrowUp", "12"], ["End", "23"], ["Home", "12"], ["ArrowRight", "13"]]) {
    await page.keyboard.press(key);
    assert.equal(await focused(page), bed, key);
  }
  await page.keyboard.press("Enter");
  await page.waitForSelector("h1:text-is('Bed 13')");
  await page.keyboard.press("Escape");
  await until("the tile has the focus again", async () => (await focused(page)) === "13");
});

await test("a acknowledges the tile's alert, it is on the list at once, and undo takes it back", {}, async (page) => {
  await page.focus("[data-bed='12']");
  await page.keyboard.press("a");
  await page.waitForSelector("[data-bed='12'] >> text=acked by A. Meyer");
  await page.waitForSelector("[data-alert] >> text=acked by A. Meyer, 9:5");
  await page.click("text=Undo");
  await page.waitForSelector("[data-bed='12'] >> text=nobody yet");
  await page.focus("[data-bed='12']");
  await page.keyboard.press("a");
  await page.waitForSelector(".toast");
  await until("undo is gone after 5 s", async () => (await page.locator(".toast").count()) === 0);
});

await test("a comment and a resolution reach the list and the history", {}, async (page) => {
  await page.click("[data-alert] [aria-label='More for Bed 12']");
  await page.fill("[data-alert] textarea", "Walking in the corridor");
  await page.click("text=Add comment");
  await page.waitForSelector(".comment >> text=Walking in the corridor");
  await page.click("button:text-is('Resolve')");
  await until("the resolved one has left the list", async () => (await page.locator("[data-alert] >> text=No heart beat").count()) === 0);
  await page.click("nav >> text=History");
  await page.waitForSelector("text=resolved by A. Meyer");
});

await test("the screen's menu closes on Escape, where the page stays, and on a touch outside", {}, async (page) => {
  await page.goto(`${new URL(page.url()).origin}/#/history`);
  await page.click("text=Screen");
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#settings").count(), 0);
  assert.match(page.url(), /#\/history$/);
  await page.click("text=Screen");
  await page.click("h1:text-is('Ended alerts')");
  assert.equal(await page.locator("#settings").count(), 0);
});

await test("a person's own password is changed, and a refusal is said as the API says it", {}, async (page) => {
  await page.click("text=Screen");
  await page.click("text=Change password");
  await page.fill("[autocomplete=current-password]", "wrong");
  for (const i of [0, 1]) await page.fill(`[autocomplete=new-password] >> nth=${i}`, "correct horse battery");
  await page.click("dialog button[type=submit]");
  await page.waitForSelector("dialog [role=alert] >> text=The old password is wrong. Nothing was changed.");
  await page.fill("[autocomplete=current-password]", "right");
  await page.click("dialog button[type=submit]");
  await page.waitForSelector(".toast >> text=Your password is changed");
  assert.equal(await page.locator("dialog").count(), 0);
});

await test("on a narrow wall no card is wider than the dock, no toast lies on one, and no strip hides what nobody answered", { long: true }, async (page) => {
  await page.setViewportSize({ width: 1400, height: 900 });
  await page.click("[data-alert] button:text-is('Acknowledge') >> nth=0");
  await page.waitForSelector(".toast");
  const [wide, toast] = await page.evaluate(() => {
    const dock = document.querySelector(".dock").getBoundingClientRect();
    const inside = [...document.querySelectorAll(".dock [data-alert] *")].filter((e) => e.getBoundingClientRect().right > dock.right + 0.5);
    return [inside.map((e) => e.outerHTML), document.querySelector(".toast").getBoundingClientRect().right - dock.left];
  });
  assert.deepEqual(wide, []);
  assert.ok(toast < 0);
  assert.equal(await page.locator("[data-bed='16'] .head >> text=✓").count(), 0);
  await page.waitForSelector("[data-bed='16'] .head.flash >> text=No heart beat");
});

await test("the history says who acknowledged, what came again, and is read by bed", {}, async (page) => {
  await page.click("nav >> text=History");
  await page.waitForSelector("text=/nobody acknowledged; came again at .*; nobody had resolved it/");
  await page.selectOption(".history select", "7w/13");
  await until("only bed 13 is left", async () => (await page.locator(".history .bed").allTextContents()).join() === "Bed 13,Bed 13");
});

await test("a new high alert is in the list, the title, the icon and the screen reader's words", { calm: true }, async (page, cloud) => {
  assert.match(await page.title(), /^Ward 7 West/);
  cloud.raise("20", "high", "physiological", "Heart rate 171 above 140 for 6 s", "hr-extreme-high", 6);
  await page.waitForSelector("[data-bed='20'] .strip.high");
  assert.match(await page.title(), /^\*\*\*1 /);
  assert.match(await page.getAttribute("#icon", "href"), /icon-high-1\.svg$/);
  assert.match(await page.textContent("[role=alert].unseen"), /High priority, bed 20: Heart rate 171/);
});

await test("waves are asked for while somebody looks, and no longer", { calm: true }, async (page, cloud) => {
  assert.deepEqual(cloud.watched(), []);
  await page.goto(`${cloud.url}/#/bed/7w/18`);
  await until("the wave is asked for", () => cloud.watched().join() === "7w/18");
  await page.waitForSelector("figure[data-lead='131330']");
  await page.goto(`${cloud.url}/#/`);
  await until("it is given up", () => cloud.watched().length === 0);
});

await test("mute here is counted down and can be taken back", {}, async (page) => {
  await page.keyboard.press("m");
  await page.waitForSelector("header >> text=/muted here [12]:/");
  await page.click("text=Sound again");
  await page.waitForSelector("header >> text=sound on");
});

await test("a slash finds a bed, a question mark lists the keys", {}, async (page) => {
  await page.keyboard.press("/");
  await page.fill("#find", "17");
  await page.keyboard.press("Enter");
  await page.waitForSelector("h1:text-is('Bed 17')");
  await page.keyboard.press("?");
  await page.waitForSelector("dialog >> text=acknowledge the bed's most urgent alert");
});

await test("a break is said within 5 s of its being sure, and mends by itself", {}, async (page, cloud) => {
  await fetch(`${cloud.url}/fake/cut`);
  await page.waitForSelector("[data-bar=connection]", { timeout: 8000 }); // it is sure after 3 s
  await page.waitForSelector("[data-bed='13'] >> text=this screen is cut off");
  await page.waitForSelector(".dock >> text=/These alerts are as they were [0-9]+ s ago/");
  await until("no value is shown as current", async () => {
    await page.waitForTimeout(1000);
    return (await page.locator(".value:not(.none)").count()) === 0;
  });
  await fetch(`${cloud.url}/fake/cut?on=0`);
  await page.waitForSelector("[data-bar=connection]", { state: "detached", timeout: 20_000 });
  await until("values are back", async () => (await page.locator(".value:not(.none)").count()) > 30);
});

await test("what ended while the screen was cut off is in the history and at the bed, once it is back", {}, async (page, cloud) => {
  const ended = async (text, at) => {
    await fetch(`${cloud.url}/fake/cut`);
    await page.waitForSelector("[data-bar=connection]");
    cloud.raise("18", "medium", "physiological", text, "hr-high", 60, { open: false, phase: "ended", ended_at: Date.now() * 1000, end_text: "back within its limit" });
    await fetch(`${cloud.url}/fake/cut?on=0`);
    await page.waitForSelector("[data-bar=connection]", { state: "detached", timeout: 20_000 });
    await page.waitForSelector(`${at} >> text=${text}`);
  };
  await page.click("nav >> text=History");
  await ended("Heart rate 131 above 120", ".history");
  await page.goto(`${cloud.url}/#/bed/7w/18`);
  await page.waitForSelector("h1:text-is('Bed 18')");
  await ended("Heart rate 132 above 120", ".past");
});

await test("a slow answer of a longer trend does not replace that of the one chosen since", { calm: true }, async (page, cloud) => {
  const span = (url) => (Number(new URL(url).searchParams.get("to")) - Number(new URL(url).searchParams.get("from"))) / 3600e6;
  let slow;
  await page.route(/[/]trend[?]/, async (route) => {
    const hours = span(route.request().url());
    if (hours === 72) await new Promise((done) => (slow = done));
    const body = { from: 0, to: 1, step: 1, holes: [], late: [], vitals: { hr: Array.from({ length: hours }, (_, i) => [i, 1, 1, 1]) } };
    await route.fulfill({ json: body }); // as many points as hours
  });
  await page.goto(`${cloud.url}/#/bed/7w/18`);
  await page.waitForSelector("[data-vital=hr][data-points='1']");
  await page.click("button:text-is('72 h')");
  await until("72 h are asked for", () => slow !== undefined);
  await page.click("button:text-is('6 h')");
  await page.waitForSelector("[data-vital=hr][data-points='6']");
  const came = page.waitForResponse((r) => span(r.url()) === 72);
  slow();
  await (await came).finished();
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  assert.equal(await page.getAttribute("[data-vital=hr]", "data-points"), "6");
});

await test("48 beds and 100 alerts for a while leave the wall light, and rows where they are", { beds: 48 }, async (page, cloud) => {
  for (let i = 0; i < 100; i++) cloud.raise(String(12 + (i % 48)), ["low", "medium", "high"][i % 3], i % 4 ? "physiological" : "technical", `Alert number ${i}`, "x", i);
  await page.waitForTimeout(3000);
  await page.evaluate(() => {
    globalThis.kept = [...document.querySelectorAll("[data-alert], .tile")];
  });
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  const measure = async () => {
    await session.send("HeapProfiler.collectGarbage");
    return Object.fromEntries((await session.send("Performance.getMetrics")).metrics.map((m) => [m.name, m.value]));
  };
  const before = await measure();
  await page.waitForTimeout(10_000);
  const after = await measure();
  const busy = (after.TaskDuration - before.TaskDuration) / 10;
  console.log(`     busy ${(100 * busy).toFixed(0)} %, heap ${(before.JSHeapUsedSize / 1e6).toFixed(1)} to ${(after.JSHeapUsedSize / 1e6).toFixed(1)} MB, ${before.Nodes} to ${after.Nodes} nodes`);
  assert.ok(await page.evaluate(() => globalThis.kept.length > 140 && globalThis.kept.every((e) => e.isConnected)), "a row was rebuilt");
  assert.ok(after.Nodes <= before.Nodes * 1.1, "nodes grow");
  assert.ok(after.JSHeapUsedSize < before.JSHeapUsedSize * 1.5, "the heap grows");
});

await browser.close();
