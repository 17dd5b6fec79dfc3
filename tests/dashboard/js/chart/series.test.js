import assert from 'node:assert/strict';
import test from 'node:test';
import { highest, measure, pieces, sentence, stack, total } from '../../js/chart/series.js';

test('areas stand on each other, and a hole is one in all of them above', () => {
  const [first, second] = stack([[1, null, 3], [10, 20, 30]]);
  assert.deepEqual(first, { low: [0, null, 0], high: [1, null, 3] });
  assert.deepEqual(second, { low: [1, null, 3], high: [11, null, 33] });
});

test('sums, means and peaks leave out what is not there', () => {
  assert.deepEqual(total([[1, null, 3], [10, null, null]]), [11, null, 3]);
  assert.deepEqual(total([]), []);
  assert.deepEqual(measure([1, null, 5]), { mean: 3, peak: 5, peakAt: 2, sum: 6, count: 2 });
  assert.deepEqual(measure([1, 2, 9], 2), { mean: 1.5, peak: 2, peakAt: 1, sum: 3, count: 2 });
  assert.deepEqual(measure([null]), { mean: null, peak: null, peakAt: null, sum: 0, count: 0 });
});

test('curves are in pieces between holes', () => {
  assert.deepEqual(pieces([1, 2, null, 3, null]), [[0, 2], [3, 4]]);
  assert.deepEqual(pieces([1, 2, 3], 2), [[0, 2]]);
  assert.deepEqual(pieces([]), []);
});

test('the axis holds sums of areas, each of the lines, and the period before', () => {
  assert.equal(highest('area', [[1, 2], [3, 4]], null, 2), 6);
  assert.equal(highest('line', [[1, 2], [3, 4]], null, 2), 4);
  assert.equal(highest('area', [[1]], [9], 1), 9);
  assert.equal(highest('area', [[1, 50]], null, 1), 1);
});

test('a chart is a sentence for those who do not see it', () => {
  const say = (value) => `${value}/s`, at = (i) => `12:0${i}`;
  const series = [{ label: 'passed', values: [1, 3] }, { label: 'failed', values: [0, 4] }];
  assert.equal(sentence({ label: 'Sessions', kind: 'area', series, notes: [{ kind: 'failed', text: 'origin a down' }, { kind: 'change', text: 'x' }] }, say, at, 2),
    'Sessions: mean 4/s, highest 7/s at 12:01. most is passed, 2/s; failed, 2/s. events: origin a down.');
  assert.equal(sentence({ label: 'RTT', kind: 'line', series: [series[0]] }, say, at, 2), 'RTT: passed mean 2/s, highest 3/s at 12:01.');
  assert.equal(sentence({ label: 'RTT', kind: 'line', series: [{ label: 'a', values: [null] }] }, say, at, 1), 'RTT: no data.');
});
