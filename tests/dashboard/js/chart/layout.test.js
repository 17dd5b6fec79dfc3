import assert from 'node:assert/strict';
import test from 'node:test';
import { colorist } from '../../js/chart/colors.js';
import { lanes } from '../../js/chart/lanes.js';
import { layout } from '../../js/chart/layout.js';

const times = [0, 60, 120, 180];
const options = { kind: 'area', series: [{ values: [1, 2, null, 4] }], times, bucket: 60, height: 200, range: [0, 240] };

test('what is drawn stays in the plot, and a value stands in the middle of its bucket', () => {
  const at = layout(options, 500);
  assert.deepEqual([at.x0, at.x1], [58, 499]);
  const points = at.shapes[0].flatMap((one) => one.high);
  assert.ok(points.every(([x, y]) => x >= at.x0 && x <= at.x1 && y >= at.y0 && y <= at.y1));
  assert.equal(at.shapes[0].length, 2);
  assert.equal(points[1][0], at.x(30));
  assert.deepEqual([at.at(at.x0), at.at(at.x(61)), at.at(10000), at.at(0)], [0, 1, 3, 0]);
});

test('labels of values have room', () => {
  const of = (unit, ...values) => layout({ ...options, series: [{ values }], unit }, 500).x0;
  assert.equal(of('', 1, 2, 3, 4), 58);
  assert.ok(of('kbit/s', 190000, 2, 3, 4) >= '200 Mkbit/s'.length * 6 + 8);
});

test('time without data is a gap with a reason, and an open bucket is neither drawn nor a gap', () => {
  assert.deepEqual(layout(options, 500).gaps.map(({ t, t2, text }) => ({ t, t2, text })), [{ t: 120, t2: 180, text: 'no data' }]);
  const note = { t: 110, t2: 200, kind: 'gap', text: 'records of 2 of 3 nodes', short: '2 of 3 nodes' };
  assert.deepEqual(layout({ ...options, notes: [note] }, 500).gaps.map((one) => one.text), ['records of 2 of 3 nodes']);
  const open = layout({ ...options, asOf: 170 }, 500);
  assert.equal(open.drawn, 2);
  assert.deepEqual(open.gaps, []);
});

test('events take the first row with room, words stand where they fit, the rest is folded', () => {
  const x = (t) => 58 + t, bar = (t, t2, text, kind = 'failed') => ({ t, t2, text, kind });
  const two = lanes([bar(0, 300, 'origin a down'), bar(100, 200, 'flood', 'mitigated')], x, 0, 400, 58, 458);
  assert.deepEqual(two.bars.map((one) => one.row), [0, 1]);
  assert.equal(two.rows, 2);
  const late = lanes([bar(390, 400, 'an outage with many words')], x, 0, 400, 58, 458);
  assert.ok(late.bars[0].textX < late.bars[0].x);
  const narrow = lanes([bar(200, 204, 'load balancer shop is left with its fallback pool, which is down, too')], x, 0, 400, 58, 458).bars[0];
  assert.ok(narrow.text.startsWith('load balancer shop is left') && narrow.text.endsWith('…'));
  assert.ok(narrow.textX >= 58 && narrow.textX + narrow.text.length * 5.9 <= 458, 'no text is cut off at the edge');
  const blinks = lanes([0, 5, 10, 15].map((t) => bar(t, t + 1, 'origin a down')), x, 0, 400, 58, 458);
  assert.deepEqual(blinks.bars.map((one) => one.text), ['origin a down (4 times)']);
  const changes = lanes([0, 5, 200].map((t) => ({ t, kind: 'change', text: `rev ${t}` })), x, 0, 400, 58, 458);
  assert.deepEqual(changes.marks.map((one) => one.notes.length), [2, 1]);
  const many = lanes(Array.from({ length: 9 }, (_, i) => bar(i, 400, `origin ${i} down`)), x, 0, 400, 58, 458);
  assert.ok(many.rows <= 4);
  assert.deepEqual(lanes([bar(500, 600, 'later')], x, 0, 400, 58, 458).bars, []);
});

test('a value keeps its colour while the page is open', () => {
  const paint = colorist();
  const first = paint('app', ['a', 'b', 'c', null]).map((one) => one.color);
  assert.equal(new Set(first).size, 4);
  assert.deepEqual(paint('app', ['c', 'a']).map((one) => one.color), [first[2], first[0]]);
  const others = paint('app', ['d', 'e', 'f', 'g', 'h', 'a']).map((one) => one.color);
  assert.equal(new Set(others).size, 6);
  assert.equal(others[5], first[0]);
  assert.deepEqual(paint('outcome', ['passed', 'failed', 'refused']).map((one) => [one.color, Boolean(one.hatched)]), [['passed', false], ['failed', false], ['mitigated', true]]);
});
