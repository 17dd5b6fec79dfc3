import assert from 'node:assert/strict';
import test from 'node:test';
import { metricsOf, plotted, wholeRange } from '../../js/analytics/plotted.js';
import { fromQuery, toQuery, valid } from '../../js/analytics/view.js';
import { headline, saying, sumBefore, titleOf, unitOf } from '../../js/analytics/words.js';

const NB = '\u00a0';
const spaced = (text) => text.replaceAll(' ', ' ').replaceAll(NB, ' ');
const address = (query) => Object.fromEntries(Object.entries(toQuery(fromQuery(query))).filter(([, value]) => value !== null));
const paint = (_, values) => values.map(() => ({ color: 'cat-1' }));
const base = { since: 0, until: 180 };
const answer = (totals, rows, more = {}) => ({ totals, rows, groups: 2, previous: null, partial: '', ...more });

test('a view is its address, and what goes without saying is not in it', () => {
  assert.deepEqual(address({}), {});
  for (const query of [{ m: 'bits', by: 'app', vs: 'none', as: 'volume' }, { by: 'none' }, { m: 'connect', by: 'origin', p: 'Median' }, { m: 'connect' }, { f: 'app==web', more: '1' }, { m: 'packets', by: 'source_port' }]) assert.deepEqual(address(query), query);
});

test('parts of an address that do not fit are mended', () => {
  assert.equal(fromQuery({ m: 'connect', by: 'outcome' }).by, 'percentile');
  assert.equal(fromQuery({ m: 'sessions', by: 'percentile' }).by, 'outcome');
  assert.equal(fromQuery({ m: 'nonsense', by: '<b>' }).metric.key, 'sessions');
  assert.equal(fromQuery({ vs: 'nonsense' }).against, '');
  assert.deepEqual(fromQuery({ m: 'packets', f: 'country==DE;source_port==53' }).filters, [{ dimension: 'source_port', op: '=', values: [53] }]);
  assert.equal(valid({ ...fromQuery({}), by: 'session' }).by, 'outcome');
});

test('an answer by group becomes a stack with words and colours', () => {
  const view = fromQuery({ by: 'app' }), found = answer({ sessions: 300 }, [[0, 'a', 120], [60, 'a', 60], [60, null, 120]], { groups: 9 });
  const shown = { found, base, ...plotted(view, found, base, 60, paint) };
  assert.deepEqual(shown.series.map(({ label, values, pickable }) => [label, values, pickable]), [['a', [2, 1, 0], true], ['8 others', [0, 2, 0], false]]);
  assert.equal(shown.kind, 'area');
  assert.equal(titleOf(view, shown.rate), 'Sessions, per second by app');
  assert.equal(unitOf(view, shown.rate), '/s');
  assert.equal(wholeRange(view, shown, ''), null);
  const volume = fromQuery({ by: 'app', as: 'volume' });
  const sums = { found, base, ...plotted(volume, found, base, 60, paint) };
  assert.deepEqual(wholeRange(volume, sums, '').cells(sums.series[0]), ['180', `60${NB}%`]);
  assert.equal(titleOf(volume, sums.rate), 'Sessions by app');
});

test('percentiles are three lines of one hue, and not stacked', () => {
  const view = fromQuery({ m: 'connect' }), found = answer({ connectMedian: 1.9, connect90th: 5, connect99th: 41 }, [[60, 41, 5, 1.9]]);
  assert.deepEqual(metricsOf(view), ['connect99th', 'connect90th', 'connectMedian']);
  const shown = { found, whole: answer({ connectMedian: 1.9, connect90th: 5, connect99th: 41 }, [[41, 5, 1.9]]), base, ...plotted(view, found, base, 60, paint) };
  assert.equal(shown.kind, 'line');
  assert.deepEqual(shown.series.map((one) => [one.label, one.values]), [['median', [null, 1.9, null]], ['90th percentile', [null, 5, null]], ['99th percentile', [null, 41, null]]]);
  assert.equal(spaced(headline(view, shown, 180)), 'Time to connect: half within 1.90 ms, nine of ten within 5.00 ms, 99 of 100 within 41.0 ms.');
  assert.deepEqual(wholeRange(view, shown, '').cells(shown.series[0]).map(spaced), ['1.90 ms', '1.90 ms']);
  assert.match(headline(view, { ...shown, whole: answer({}, []) }, 180), /Nothing was measured/);
});

test('the answer in a line says how much, against what, and what was wrong', () => {
  const view = fromQuery({}), rows = [[0, 'passed', 280]];
  const told = (totals, previous) => spaced(headline(view, { found: answer(totals, rows, { previous }), base, rate: { factor: 1, unit: '/s' } }, 180));
  assert.equal(told({ sessions: 360, failed: 18, refused: 0 }, null), '360 sessions in 3 min, 2 /s on average. 18 failed (5.0 %).');
  assert.match(told({ sessions: 360 }, { rows: [[0, 90]], totals: { sessions: 90 } }), /, 4\.0 × that of the day before\.$/);
  assert.match(told({ sessions: 360 }, { rows: [[0, 300]], totals: { sessions: 300 } }), /, \+20 % against the day before\.$/);
  assert.doesNotMatch(told({ sessions: 360 }, { rows: [[120, 90]], totals: { sessions: 90 } }), /day before/);
  assert.equal(told({ sessions: 0 }, null), 'No sessions in this range.');
  assert.equal(sumBefore(view, { found: answer({}, [], { previous: { rows: [], totals: {} } }), base }), null);
  assert.equal(saying(fromQuery({ m: 'duration' }), {}).value(61000), `61${NB}s`);
});
