import assert from 'node:assert/strict';
import test from 'node:test';
import { metric, valueLabel } from '../../js/analytics/catalogue.js';
import { csv } from '../../js/analytics/csv.js';
import { outages } from '../../js/analytics/outages.js';
import { bodyOf, ruleOf } from '../../js/analytics/rule.js';
import { begun, byGroup, column, ordered, rateOf, shownAs } from '../../js/analytics/series.js';

const TIMES = [0, 60, 120];

test('rows become series, and a bucket without a row is none', () => {
  const groups = byGroup([[0, 'b', 5], [60, 'b', 1], [0, 'a', 9], [120, null, 2]], TIMES, true);
  assert.deepEqual([...groups], [['b', [5, 1, 0]], ['a', [9, 0, 0]], [null, [0, 0, 2]]]);
  assert.deepEqual(ordered(groups, 'app'), ['a', 'b', null]);
  assert.deepEqual(ordered(new Map([['refused', [9]], ['passed', [1]], ['failed', [2]]]), 'outcome'), ['passed', 'failed', 'refused']);
  assert.deepEqual([...byGroup([[60, 7]], TIMES, false, null)], [['', [null, 7, null]]]);
  assert.deepEqual(column([[60, 1, 2]], TIMES, 2, null), [null, 2, null]);
  assert.deepEqual(begun([0, 0, 3], 60, TIMES), [null, 0, 3]);
});

test('rates are sums by time, volumes are sums, percentiles stay', () => {
  const bits = metric('bits'), sessions = metric('sessions');
  assert.deepEqual(shownAs([600, null], { asRate: true, factor: bits.factor, additive: true }, 60), [80, null]);
  assert.deepEqual(shownAs([600], { asRate: false, factor: 8, additive: true }, 60), [600]);
  assert.deepEqual(shownAs([1.5], { asRate: true, factor: 1, additive: false }, 60), [1.5]);
  assert.equal(rateOf(sessions, 0.2).unit, '/min');
  assert.equal(rateOf(sessions, 20).unit, '/s');
  assert.equal(rateOf(bits, 0.1).unit, 'bit/s');
});

test('values that say nothing have words', () => {
  assert.equal(valueLabel('asn', 64500), 'AS64500');
  assert.equal(valueLabel('asn', 0), 'unknown');
  assert.equal(valueLabel('origin', ''), 'no origin');
  assert.equal(valueLabel('app', null), 'others');
  assert.equal(valueLabel('ip_version', 6), 'IPv6');
  assert.equal(valueLabel('status', 0), '0');
});

test('names from clients stay text in a spreadsheet', () => {
  assert.equal(csv(['time', 'a,"b"'], [['x', 1.5], ['=cmd()', null], ['-1', -1]]), 'time,"a,""b"""\r\nx,1.5\r\n\'=cmd(),\r\n\'-1,-1\r\n');
});

test('outages are from down to up, those that several nodes saw are one, those that go on last until now', () => {
  const row = (time, node, healthy, event = 'originHealth') => ({ time, node, healthy, event, pool: 'pg', origin: 'pg/a', reason: 'connect_timeout' });
  const rows = [row(500, 'n1', false), row(300, 'n2', true), row(290, 'n1', true), row(110, 'n2', false), row(100, 'n1', false), row(10, 'n1', true)];
  const found = outages(rows, 0, 1000);
  assert.deepEqual(found.map(({ t, t2, text, kind }) => ({ t, t2, text, kind })), [{ t: 100, t2: 300, text: 'origin a down', kind: 'failed' }, { t: 500, t2: 1000, text: 'origin a down', kind: 'failed' }]);
  assert.equal(outages(rows, 400, 1000).length, 1);
  const pool = outages([{ time: 5, node: 'n', healthy: false, event: 'poolHealth', pool: 'pg', origin: '' }], 0, 10);
  assert.equal(pool[0].text, 'pool pg down');
  const ejected = [{ time: 9, node: 'n', event: 'originReturned', pool: 'pg', origin: 'pg/a' }, { time: 5, node: 'n', event: 'originEjected', pool: 'pg', origin: 'pg/a' }];
  assert.deepEqual(outages(ejected, 0, 10).map((one) => [one.kind, one.t, one.t2]), [['degraded', 5, 9]]);
});

test('a rule is made of what names clients, and says what it cannot', () => {
  const is = (dimension, ...values) => ({ dimension, op: '=', values }), label = (one) => one;
  const rule = ruleOf([is('asn', 64500, 64501), is('app', 'web'), is('reason', 'idle_timeout')], label);
  assert.deepEqual([rule.target, rule.values, rule.apps, rule.left.map((one) => one.dimension), rule.faults], ['asn', ['AS64500', 'AS64501'], ['web'], ['reason'], []]);
  assert.deepEqual(bodyOf(rule, ['id'], 'why'), { mode: 'block', configuration: { target: 'asn', values: ['AS64500', 'AS64501'] }, apps: ['id'], notes: 'why' });
  assert.deepEqual(bodyOf(ruleOf([is('client_ip', '2001:db8::1')], label), null, ''), { mode: 'block', configuration: { target: 'ip6', value: '2001:db8::1' }, notes: '' });
  assert.equal(ruleOf([{ dimension: 'client_ip', op: 'prefix', values: ['203.0.113.0/24'] }], label).target, 'ip_range');
  assert.equal(ruleOf([is('source_country', 'DE')], label).filters[0].dimension, 'country');
  assert.match(ruleOf([is('app', 'web')], label).faults[0], /names clients/);
  assert.match(ruleOf([is('asn', 1), is('country', 'DE')], label).faults[0], /leave country out/);
  assert.match(ruleOf([is('country', '')], label).faults[0], /unknown/);
  assert.equal(ruleOf([{ dimension: 'country', op: '!=', values: ['DE'] }], label).faults.length, 1);
});
