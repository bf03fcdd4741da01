import { expect, test } from "vitest";
import { because } from "./story";

test("what a rule read is told in words, and not in the rule's own", () => {
  expect(because([{ name: "age(hr)", value: 10.27, unit: "s" }])).toBe("no HR for 10 s");
  expect(because([{ name: "gone(hr)", value: 4 }])).toBe("HR not found for 4 s");
  expect(because([{ name: 'delta(spo2, "10m")', value: -9, unit: "%" }])).toBe("SpO2 changed by -9 % in 10m");
  expect(because([{ name: "mean(rr, 5m)", value: 21.5, unit: "/min" }])).toContain("mean RR 21.5");
  expect(because([{ name: "limit.hr.high", value: 120, unit: "/min" }])).toContain("limit HR high 120");
});
