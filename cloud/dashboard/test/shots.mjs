// Takes the page's pictures against the fake cloud and lets axe look at each view,
// calm and with alarms. Fails on a serious fault, and on a breach of the content
// security policy.
//
//   node test/shots.mjs <folder for the pictures> [path of Chromium]
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { start } from "./fake.mjs";

const [folder = "shots", executablePath = "/usr/bin/chromium"] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const only = process.env.ONLY;
let faults = 0;

const browser = await chromium.launch({
  executablePath,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

async function view(name, options, size, steps) {
  if (only && !name.match(only)) return;
  const cloud = await start({ beds: 12, wards: 1, port: 0, calm: false, none: false, ...options });
  const context = await browser.newContext({ viewport: size, timezoneId: "Europe/Berlin", ...(options.context ?? {}) });
  const page = await context.newPage();
  page.on("console", (m) => {
    if (m.type() === "error" && !/401|423|ERR_|WebSocket/.test(m.text())) report(`${name}: console: ${m.text()}`);
  });
  page.on("pageerror", (e) => report(`${name}: ${e.message}`));
  await page.goto(cloud.url);
  await steps(page, cloud);
  await page.screenshot({ path: join(folder, `${name}.png`) });
  const found = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ["violations"] })`);
  for (const v of found.violations) {
    const where = v.nodes.slice(0, 3).map((n) => `${n.target.join(" ")} ${n.any[0]?.message ?? ""}`).join(" | ");
    if (["serious", "critical"].includes(v.impact)) report(`${name}: axe ${v.impact}: ${v.id}: ${where}`);
    else console.log(`${name}: axe ${v.impact}: ${v.id}: ${where}`);
  }
  await context.close();
  cloud.close();
  console.log(`${name} ok`);
}

function report(text) {
  faults++;
  console.error(text);
}

const wide = { width: 1920, height: 1080 };
const middle = { width: 1366, height: 768 };
const phone = { width: 390, height: 844 };
const enter = async (page, name) => {
  await page.fill("#name", name);
  await page.fill("#password", "right");
  await page.click("button[type=submit]");
  await page.waitForSelector("header");
  await page.waitForTimeout(2200);
};
const signIn = (page) => enter(page, "meyer");
const go = (hash, wait = 2500) => async (page) => {
  await signIn(page);
  await page.goto(`${new URL(page.url()).origin}/${hash}`);
  await page.waitForTimeout(wait);
};

await view("sign-in", {}, wide, (page) => page.waitForSelector("#name"));
await view("sign-in-locked", {}, middle, async (page) => {
  await page.fill("#name", "meyer");
  await page.fill("#password", "locked");
  await page.click("button[type=submit]");
  await page.waitForSelector("[role=alert].why");
});
await view("wall-12", {}, wide, signIn);
await view("wall-24", { beds: 24 }, wide, signIn);
await view("wall-48", { beds: 48, wards: 2 }, wide, signIn);
await view("wall-12-calm", { calm: true }, wide, signIn);
await view("wall-12-light", {}, wide, async (page) => {
  await signIn(page);
  await page.click("text=Screen");
  await page.selectOption("#settings select >> nth=0", "light");
  await page.waitForTimeout(500);
});
await view("wall-12-contrast", {}, wide, async (page) => {
  await signIn(page);
  await page.evaluate(() => localStorage.setItem("wardline", '{"theme":"contrast"}'));
  await page.reload();
  await page.waitForTimeout(1500);
});
await view("wall-reduced-motion", { context: { reducedMotion: "reduce" } }, wide, signIn);
await view("wall-1366", {}, middle, signIn);
await view("wall-acknowledged", {}, wide, async (page) => {
  await signIn(page);
  await page.click("[data-alert] button:text-is(\"Acknowledge\") >> nth=0");
  await page.waitForSelector(".toast");
});
await view("wall-cut", {}, wide, async (page, cloud) => {
  await signIn(page);
  await fetch(`${cloud.url}/fake/cut`);
  await page.waitForSelector("[data-bar=connection]", { timeout: 8000 });
  await page.waitForTimeout(10_000);
});
await view("wall-gateway-link-lost", {}, wide, async (page, cloud) => {
  await signIn(page);
  await fetch(`${cloud.url}/fake/link?up=0`);
  await page.waitForSelector("[data-bar=gateway]");
});
await view("wall-empty", { none: true }, wide, signIn);
await view("bed", {}, wide, go("#/bed/7w/12", 7000));
await view("bed-calm", { calm: true }, wide, go("#/bed/7w/18", 7000));
await view("bed-1366", {}, middle, go("#/bed/7w/12", 5000));
await view("history", {}, wide, async (page) => {
  await go("#/history")(page);
  await page.click(".history li button >> nth=0");
  await page.waitForTimeout(500);
});
await view("gateways", {}, wide, go("#/gateways"));
await view("gateways-technician", {}, middle, (page) => enter(page, "tech"));
await view("gateways-empty", { none: true }, middle, go("#/gateways"));
await view("phone-alerts", {}, phone, signIn);
await view("phone-wall", {}, phone, go("#/"));
await view("phone-bed", {}, phone, go("#/bed/7w/12", 4000));
await view("phone-calm", { calm: true }, phone, signIn);
await view("keys", {}, middle, async (page) => {
  await signIn(page);
  await page.keyboard.press("?");
  await page.waitForSelector("dialog[open]");
});
await view("find", {}, middle, async (page) => {
  await signIn(page);
  await page.keyboard.press("/");
  await page.fill("#find", "1");
});
await browser.close();
console.log(faults ? `${faults} faults` : "no fault");
process.exitCode = faults ? 1 : 0;
