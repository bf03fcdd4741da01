// The JSON that the API's own tests write: what the page's tests are driven with,
// so that the two cannot drift.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export function golden<T>(name: string): T {
  return JSON.parse(readFileSync(fileURLToPath(new URL(`../../internal/api/testdata/${name}.json`, import.meta.url)), "utf8")) as T;
}
