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

const done = () => new Response("{}", { status: 200 });

test("a comment that got no answer is asked for again with the same key, and a new one with another", async () => {
  const keys = asked(undefined, done(), done());
  await expect(api.comment("a", "moved")).rejects.toMatchObject({ status: 0 });
  await api.comment("a", "moved");
  await api.comment("a", "moved"); // said again on purpose
  expect(keys[0]).toBe(keys[1]);
  expect(keys[2]).not.toBe(keys[1]);
});

test("a comment that was refused is asked for with a new key, one that failed on its way with the same", async () => {
  const keys = asked(new Response("", { status: 502 }), new Response('{"reason":"conflict","detail":"not now"}', { status: 409 }), done());
  await expect(api.comment("b", "moved")).rejects.toMatchObject({ status: 502 });
  await expect(api.comment("b", "moved")).rejects.toMatchObject({ status: 409 });
  await api.comment("b", "moved");
  expect(keys[1]).toBe(keys[0]);
  expect(keys[2]).not.toBe(keys[1]);
});

// The first may have been done and have run out or been withdrawn since: the cloud
// would answer to its key that all is well, and acknowledge nothing.
test("an acknowledgement that got no answer is a new one when it is pressed again", async () => {
  for (const press of [api.acknowledge, api.withdraw, (a: string) => api.resolve(a, "seen")]) {
    const keys = asked(undefined, done());
    await expect(press("c")).rejects.toMatchObject({ status: 0 });
    await press("c");
    expect(keys[1]).not.toBe(keys[0]);
  }
});
