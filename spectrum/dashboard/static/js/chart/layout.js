// Where everything of a chart stands, from its data and its size: numbers alone.

import { lanes, ROW_PX } from './lanes.js';
import { closed, timeAxis, valueAxis, valueLabel } from './scale.js';
import { highest, pieces, stack } from './series.js';

// Left of the plot, where labels of values stand, and what one takes of it.
const LEFT = 58;
const LETTER_PX = 6.2;
const LABEL_PX = 10;
const RIGHT = 1;
const AXIS = 26;
const NO_AXIS = 10;

/** Geometry of a chart of `width` pixels.
 * Options: kind, series, times, bucket, height, range [since, until], asOf, notes, compare, lines, ticks, axis, left, offset,
 * most (the highest value that the axis has to hold; live charts hold it still). */
export function layout(o, width) {
  const [since, until] = o.range ?? [o.times[0] ?? 0, (o.times.at(-1) ?? 0) + o.bucket];
  const drawn = closed(o.times, o.bucket, o.asOf);
  const rows = o.series.map((one) => one.values);
  const limits = (o.lines || []).map((one) => one.value);
  const axis = valueAxis(o.most ?? Math.max(highest(o.kind, rows, o.compare, drawn), ...limits), o.ticks ?? 4);
  const longest = Math.max(...axis.ticks.map((value) => valueLabel(value, axis, o.unit).length));
  const x0 = o.left ?? Math.max(LEFT, Math.ceil(longest * LETTER_PX) + LABEL_PX), x1 = Math.max(x0 + 1, width - RIGHT);
  const x = (t) => x0 + (t - since) / (until - since) * (x1 - x0);
  const events = o.notes === false ? { bars: [], marks: [], rows: 0 } : lanes(o.notes || [], x, since, until, x0, x1);
  const y0 = events.rows ? events.rows * ROW_PX + 6 : 8, y1 = o.height - (o.axis === false ? NO_AXIS : AXIS);
  const y = (value) => y1 - value / axis.max * (y1 - y0 - 4);
  const edges = o.kind === 'area' ? stack(rows) : rows.map((high) => ({ low: null, high }));
  const points = (values, to) => pieces(values, to).map(([a, b]) => curve(o, values, a, b, x, y, x0, x1));
  return {
    since, until, x0, x1, y0, y1, x, y, axis, events, drawn, height: o.height, width,
    time: timeAxis(since, until, x1 - x0, { offset: o.offset }),
    shapes: edges.map(({ low, high }) => pieces(high, drawn).map(([a, b]) => ({
      high: curve(o, high, a, b, x, y, x0, x1), low: low && curve(o, low, a, b, x, y, x0, x1) }))),
    before: o.compare ? points(o.compare, drawn) : [],
    gaps: gaps(o, drawn, since, until).map((one) => ({ ...one, from: x(one.t), to: x(one.t2) })),
    /** Index of the bucket at a horizontal position, among those that are drawn. */
    at: (px) => Math.max(0, Math.min(drawn - 1, Math.floor((since + (px - x0) / (x1 - x0) * (until - since) - o.times[0]) / o.bucket))),
  };
}

// A value stands in the middle of its bucket; the curve goes on to the edges of the outermost ones.
function curve(o, values, a, b, x, y, x0, x1) {
  const inside = (px) => Math.max(x0, Math.min(x1, px));
  const points = [[inside(x(o.times[a])), y(values[a])]];
  for (let i = a; i < b; i++) points.push([inside(x(o.times[i] + o.bucket / 2)), y(values[i])]);
  points.push([inside(x(o.times[b - 1] + o.bucket)), y(values[b - 1])]);
  return points;
}

// Time without data, with the reason that a note gives, and what is only told in part.
function gaps(o, drawn, since, until) {
  const told = (o.notes || []).filter((one) => one.kind === 'gap' && one.t < until && one.t2 > since)
    .map((one) => ({ t: Math.max(since, one.t), t2: Math.min(until, one.t2), text: one.text, short: one.short }));
  const none = [];
  for (let i = 0; i < drawn; i++) {
    if (!o.series.length || o.series.some((one) => one.values[i] !== null)) continue;
    const t = Math.max(since, o.times[i]), t2 = Math.min(until, o.times[i] + o.bucket);
    if (t2 <= t || told.some((one) => one.t <= t && one.t2 >= t2)) continue;
    const last = none.at(-1);
    if (last && last.t2 >= t) last.t2 = t2;
    else none.push({ t, t2, text: o.gapText || 'no data' });
  }
  return [...told, ...none];
}
