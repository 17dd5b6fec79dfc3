import assert from 'node:assert/strict';
import test from 'node:test';
import * as scale from '../../js/chart/scale.js';

const NB = '\u00a0';

test('an axis begins at zero, has 2 to 4 hairlines, and holds the highest value', () => {
  for (let exponent = -4; exponent < 13; exponent++) {
    for (const digit of [1, 1.01, 1.3, 1.99, 2.4, 3, 4.2, 5.5, 7, 8.8, 9.99]) {
      const highest = digit * 10 ** exponent, axis = scale.valueAxis(highest);
      assert.ok(axis.max >= highest * 0.98, `${highest}`);
      assert.ok(axis.max <= highest * 2.6, `${highest}: ${axis.max}`);
      assert.ok(axis.ticks.length >= 1 && axis.ticks.length <= 4, `${highest}: ${axis.ticks}`);
      assert.equal(axis.ticks.at(-1), axis.max);
    }
  }
  assert.deepEqual(scale.valueAxis(2.41e6).ticks, [1e6, 2e6, 3e6]);
  assert.deepEqual(scale.valueAxis(0).ticks, [0.25, 0.5, 0.75, 1]);
  assert.deepEqual(scale.valueAxis(NaN).max, 1);
});

test('the unit stands at the topmost hairline only', () => {
  const axis = scale.valueAxis(2.4e6, 5);
  assert.deepEqual(axis.ticks.map((one) => scale.valueLabel(one, axis, 'pps')), ['0.5', '1', '1.5', '2', `2.5${NB}Mpps`]);
  const small = scale.valueAxis(0.6);
  assert.equal(scale.valueLabel(small.max, small, '/s'), `0.6${NB}/s`);
  const bare = scale.valueAxis(3);
  assert.equal(scale.valueLabel(bare.max, bare, ''), '3');
});

test('times stand at 1 2 5 10 15 30 s or min, at 1 2 3 6 12 h, at days, without touching', () => {
  for (const range of [10, 60, 300, 3600, 4 * 3600, 86400, 7 * 86400, 90 * 86400, 800 * 86400]) {
    for (const width of [240, 700, 1200]) {
      const since = 1790000000, axis = scale.timeAxis(since, since + range, width);
      assert.ok(axis.ticks.length <= width / 60 + 1, `${range} ${width}`);
      assert.ok(axis.ticks.every((one) => one % axis.step === 0 && one >= since && one <= since + range));
      assert.ok(axis.ticks.length >= 1 || range < 60, `${range} ${width}`);
    }
  }
  assert.equal(scale.timeAxis(0, 86400, 760).step, 7200);
  assert.equal(scale.timeAxis(0, 86400, 312).step, 21600);
});

test('midnight is the day, seconds are there below a minute, a zone has its own midnight', () => {
  const midnight = Date.UTC(2026, 10, 18) / 1000;
  assert.equal(scale.timeLabel(midnight, 3600), 'Wed 18');
  assert.equal(scale.timeLabel(midnight, 14 * 86400), '18 Nov');
  assert.equal(scale.timeLabel(midnight + 3600, 3600), '01:00');
  assert.equal(scale.timeLabel(midnight + 61, 1), '00:01:01');
  assert.equal(scale.timeLabel(midnight - 7200, 3600, 7200), 'Wed 18');
  assert.ok(scale.timeAxis(midnight, midnight + 86400, 760, { offset: 1800 }).ticks.every((one) => (one + 1800) % 7200 === 0));
});

test('a moment has seconds below two hours, and the day above one', () => {
  const at = Date.UTC(2026, 10, 18, 19, 47, 12) / 1000;
  assert.equal(scale.momentLabel(at, 3600, 10), '19:47:12');
  assert.equal(scale.momentLabel(at, 3600, 60), '19:47');
  assert.equal(scale.momentLabel(at, 87000, 600), '19:47');
  assert.equal(scale.momentLabel(at, 7 * 86400, 3600), 'Wed 18 Nov 19:47');
  assert.equal(scale.momentLabel(at, 90 * 86400, 86400), 'Wed 18 Nov');
});

test('buckets have 3 px each, from 1 s to days', () => {
  assert.equal(scale.bucketFor(60, 700), 1);
  assert.equal(scale.bucketFor(3600, 700), 30);
  assert.equal(scale.bucketFor(86400, 700), 600);
  assert.equal(scale.bucketFor(86400, 300), 900);
  assert.equal(scale.bucketFor(30 * 86400, 700), 21600);
  assert.equal(scale.bucketFor(400 * 86400, 300), 4 * 86400);
  for (const range of [1, 59, 3601, 86399, 1e7, 1e9]) {
    for (const width of [1, 50, 333, 2000]) {
      const bucket = scale.bucketFor(range, width);
      assert.ok(range / bucket <= Math.max(1, Math.min(480, width / 3)), `${range} ${width}`);
    }
  }
  assert.deepEqual([1, 30, 300, 3600, 86400].map(scale.bucketName), [`1${NB}s`, `30${NB}s`, `5${NB}min`, `1${NB}h`, `1${NB}d`]);
});

test('buckets begin at multiples of their width, and an open one is not drawn', () => {
  assert.deepEqual(scale.bucketTimes(125, 300, 60), [120, 180, 240]);
  assert.equal(scale.closed([120, 180, 240], 60, 299), 2);
  assert.equal(scale.closed([120, 180, 240], 60, 300), 3);
  assert.equal(scale.closed([120, 180, 240], 60, null), 3);
  assert.equal(scale.closed([120], 60, 0), 0);
});

test('a live axis grows at once, and shrinks after ten seconds', () => {
  let state = scale.held(null, 100, 0);
  assert.equal(state.shown, 100);
  state = scale.held(state, 240, 1);
  assert.equal(state.shown, 240);
  for (let now = 2; now < 12; now++) {
    state = scale.held(state, 20, now);
    assert.equal(state.shown, 240, `${now}`);
  }
  assert.equal(scale.held(state, 20, 12).shown, 20);
  assert.equal(scale.held(scale.held(state, 240, 12), 20, 13).shown, 240);
});
