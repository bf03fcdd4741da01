import { afterEach, expect, test, vi } from "vitest";
import { api } from "./api";

afterEach(() => vi.unstubAllGlobals());

// asked answers each request in turn, undefined for none, and gives the keys that were sent.
function asked(...answers: (Response | undefined)[]): string[] {
  const keys: string[] = [];
  vi.stubGlobal("fetch", (_: string, o: { headers: Record<string, string> }) => {
    keys.push(o.headers["Idempotency-Key"]!);
    const a = answers.shift();
    return a ? Promise.resolve(a) : Promise.reject(new TypeError("the line is cut"));
  });
  return keys;
}

test("an act that got no answer is asked for again with the same key, and a new one with another", async () => {
  const done = () => new Response("{}", { status: 200 });
  const keys = asked(undefined, done(), done());
  await expect(api.comment("a", "moved")).rejects.toMatchObject({ status: 0 });
  await api.comment("a", "moved");
  await api.comment("a", "moved"); // said again on purpose
  expect(keys[0]).toBe(keys[1]);
  expect(keys[2]).not.toBe(keys[1]);
});

test("an act that was refused is asked for with a new key", async () => {
  const keys = asked(new Response('{"reason":"conflict","detail":"not now"}', { status: 409 }), new Response("{}", { status: 200 }));
  await expect(api.acknowledge("b")).rejects.toMatchObject({ status: 409 });
  await api.acknowledge("b");
  expect(keys[1]).not.toBe(keys[0]);
});
