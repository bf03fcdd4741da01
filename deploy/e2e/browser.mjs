// Drives one headless Chromium for the system tests. A command is a JSON line on
// standard input, {"id", "page", "do", …}; its answer a JSON line on standard
// output, {"id", "value"} or {"id", "error"}. Each page has a context of its own:
// other cookies, another person. It ends when standard input does.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  headless: true,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    // Else sound waits until somebody touches the page, as it does for people.
    ...(process.argv.includes("hold-sound") ? [] : ["--autoplay-policy=no-user-gesture-required"]),
  ],
});

const pages = new Map(); // name to { page, faults }

async function open(name, size) {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true, // the CA is the cloud's own
    viewport: size ?? { width: 1920, height: 1080 },
    reducedMotion: "reduce",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const faults = [];
  page.on("pageerror", (e) => faults.push(String(e)));
  page.on("console", (m) => {
    // A request that is cut off or refused on purpose is logged by the browser itself.
    if (m.type() === "error" && !/Failed to load resource|WebSocket connection/.test(m.text())) faults.push(m.text());
  });
  pages.set(name, { page, faults });
}

function find(page, c) {
  let found = page.locator(c.at);
  if (c.text) found = found.filter({ hasText: c.text });
  return found;
}

const acts = {
  open: (_, c) => open(c.page, c.size),
  reload: ({ page }) => page.reload().then(() => null),
  go: ({ page }, c) => page.goto(c.url).then(() => null),
  // Waits until an element that matches and holds the text is to be seen.
  see: async ({ page }, c) => find(page, c).first().waitFor({ state: "visible", timeout: c.within }),
  // Waits until there is none.
  gone: async ({ page }, c) => {
    const found = find(page, c);
    const until = Date.now() + c.within;
    for (;;) {
      const n = await found.count();
      if (n === 0) return;
      if (Date.now() > until) throw new Error(`${n} are still there: ${(await found.allInnerTexts()).join(" | ")}`);
      await page.waitForTimeout(100);
    }
  },
  fill: ({ page }, c) => find(page, c).first().fill(c.value),
  click: ({ page }, c) => find(page, c).first().click(),
  press: ({ page }, c) => page.keyboard.press(c.value),
  texts: ({ page }, c) => find(page, c).allInnerTexts(),
  title: ({ page }) => page.title(),
  shot: ({ page }, c) => page.screenshot({ path: c.file }).then(() => null),
  // What axe finds that is serious or critical, a sentence each.
  axe: async ({ page }) => {
    await page.evaluate(axe);
    const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
    if (found.passes.length < 5) throw new Error(`axe looked at nothing: ${found.passes.length} rules passed`);
    return found.violations
      .filter((v) => v.impact === "serious" || v.impact === "critical")
      .map((v) => `${v.impact}: ${v.id}: ${v.help}: ${v.nodes.map((n) => n.html).slice(0, 3).join(" ")}`);
  },
  faults: ({ faults }) => faults,
};

const say = (answer) => process.stdout.write(JSON.stringify(answer) + "\n");

// Commands run one after another on a page, and pages beside one another.
const queues = new Map();
for await (const line of createInterface({ input: process.stdin })) {
  const c = JSON.parse(line);
  const before = queues.get(c.page) ?? Promise.resolve();
  queues.set(c.page, before.then(async () => {
    try {
      say({ id: c.id, value: (await acts[c.do](pages.get(c.page), c)) ?? null });
    } catch (e) {
      say({ id: c.id, error: String(e) });
    }
  }));
}
await browser.close();
