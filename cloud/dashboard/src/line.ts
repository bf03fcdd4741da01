// The thirty-minute line of a tile, as the path of an SVG that is 180 × 40.

import type { LinePoint, Micros } from "./contract";

const span: Micros = 30 * 60e6;
const broken: Micros = 130e6; // a snapshot has a point a minute

/** path draws points over the half hour before now. Its height is the points' own
 * range, though never less than 30, so that calm looks calm. */
export function path(points: LinePoint[], now: Micros): string {
  const shown = points.filter((p) => p[0] > now - span);
  if (shown.length === 0) return "";
  const values = shown.map((p) => p[1]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.max(30, high - low);
  const bottom = (low + high - room) / 2;
  let d = "";
  let before = -Infinity;
  for (const [at, value] of shown) {
    const x = Math.min(180, 180 * (1 - (now - at) / span));
    const y = 38 - (36 * (value - bottom)) / room;
    d += `${at - before > broken ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
    before = at;
  }
  return d;
}
