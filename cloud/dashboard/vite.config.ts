import { svelte } from "@sveltejs/vite-plugin-svelte";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

// The page is built into dist/ under names that never change, and dist/ is
// committed: whoever builds the cloud needs only Go. WARDLINE_CLOUD is the
// address that `npm run dev` forwards the API to.
const cloud = process.env.WARDLINE_CLOUD ?? "https://localhost:8443";

export default defineConfig({
  plugins: [svelte({ compilerOptions: { runes: true } }), icons()],
  build: {
    outDir: "dist",
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0, // the content security policy allows no data: addresses
    rolldownOptions: {
      output: {
        entryFileNames: "assets/app.js",
        chunkFileNames: "assets/[name].js",
        assetFileNames: (a) => (a.names.some((n) => n.endsWith(".css")) ? "assets/app.css" : "assets/[name][extname]"),
      },
    },
  },
  server: {
    proxy: { "/api": { target: cloud, ws: true, secure: false, changeOrigin: true } },
  },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});

// icons emits the page's icon, and one for each priority and count (9 stands for
// nine or more): an icon drawn while the page runs would be a data: address.
function icons(): Plugin {
  const icon = (ground: string, text: string, body: string) =>
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="6" fill="${ground}"/>${body.replaceAll("currentColor", text)}</svg>\n`;
  const count = (n: number) =>
    `<text x="16" y="24" text-anchor="middle" font-family="system-ui,sans-serif" font-weight="700" font-size="24" fill="currentColor">${n > 8 ? "9+" : n}</text>`;
  const beat = `<path d="M3 17h7l3-9 5 17 3-8h8" fill="none" stroke="currentColor" stroke-width="3" stroke-linejoin="round" stroke-linecap="round"/>`;
  const files = new Map([["icon.svg", icon("#121A23", "#46E08A", beat)]]);
  for (const [name, ground] of [["high", "#FF453A"], ["medium", "#FFD60A"], ["low", "#32D0FF"]] as const) {
    for (let n = 1; n <= 9; n++) files.set(`icon-${name}-${n}.svg`, icon(ground, "#000", count(n)));
  }
  return {
    name: "wardline-icons",
    generateBundle() {
      for (const [name, source] of files) this.emitFile({ type: "asset", fileName: `assets/${name}`, source });
    },
  };
}
