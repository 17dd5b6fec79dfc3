import assert from 'node:assert/strict';
import test from 'node:test';

import { events, fold, median, stepKind, verdict } from '../js/story.js';
import { host, isAddress, isPrefix } from '../js/address.js';

const row = (time, more = {}) => ({ time, node: 'n', app: 'web', event: 'disconnect', reason: 'client_closed', outcome: 'passed', status: 200, session: `9.${time}`, weight: 1, clients: 0, client_bytes: 1, origin_bytes: 2, duration: 1e6, origin: 'p/one', access_rule: '', limit_hit: '', tls_error: '', ...more });
const refusal = (time, more = {}) => row(time, { event: 'clientFiltered', reason: 'client_blocked', outcome: 'refused', status: 403, session: '', duration: null, origin: '', access_rule: 'scanners', ...more });

test('rows of one session are one event, and their bytes are summed', () => {
  const [one, ...more] = events([row(7, { session: '9.1', event: 'progress', reason: '', status: 0 }), row(9, { session: '9.1' }), row(5, { session: '9.1', event: 'connect', reason: '' })]);
  assert.equal(more.length, 0);
  assert.deepEqual([one.bytesIn, one.bytesOut, one.open, one.last, one.began], [3, 6, false, 9, 8]);
});

test('a session without an end is open', () => {
  const [one] = events([row(5, { event: 'connect', reason: '', status: 0, duration: null })]);
  assert.deepEqual([one.open, one.kind, one.began], [true, 'passed', 5]);
});

test('equal events are one line, with nothing else of the app in between', () => {
  const lines = fold(events([refusal(1), refusal(2, { weight: 12 }), refusal(4), row(5), refusal(6), refusal(3, { app: 'ssh' })]));
  assert.deepEqual(lines.map((line) => [line.row.app, line.kind, line.count, line.first, line.last]), [['web', 'mitigated', 1, 6, 6], ['web', 'passed', 1, 5, 5], ['web', 'mitigated', 14, 1, 4], ['ssh', 'mitigated', 1, 3, 3]]);
});

test('another rule, or another limit, is another line', () => {
  assert.equal(fold(events([refusal(1), refusal(2, { access_rule: 'others' }), refusal(3, { access_rule: '', limit_hit: 'client_rate' })])).length, 3);
});

test('the verdict is by the latest line of each app', () => {
  const said = verdict(fold(events([row(1), refusal(2), row(3, { app: 'ssh' }), row(4, { app: 'db', outcome: 'failed', reason: 'origin_timeout', status: 445 }), refusal(5, { app: 'all', clients: 9, weight: 40 })])));
  assert.deepEqual([said.refused, said.served, said.troubled].map((lines) => lines.map((line) => line.row.app)), [['web'], ['ssh'], ['db']]);
});

test('TLS that fails is trouble, though it is a refusal', () => {
  assert.equal(events([refusal(1, { reason: 'client_tls_failed' })])[0].kind, 'degraded');
});

test('steps of explain have marks', () => {
  assert.equal(stepKind('access rule scanners blocks it (BLOCK_IP: 192.0.2.0/24)'), 'mitigated');
  assert.equal(stepKind('pool main is healthy (1 of 2 origins up); not used: down: connection refused'), 'degraded');
  assert.equal(stepKind('it goes to main/up (192.0.2.1 port 22)'), 'ok');
});

test('medians and addresses', () => {
  assert.deepEqual([median([3, 1, 2]), median([])], [2, null]);
  assert.deepEqual(['192.0.2.1:22', '[2001:db8::1]:22', '192.0.2.1', '2001:db8::1'].map(host), ['192.0.2.1', '2001:db8::1', '192.0.2.1', '2001:db8::1']);
  assert.deepEqual(['192.0.2.1', '2001:db8::/32', 'x', '<b>', '1.2.3', ''].map(isAddress), [true, true, false, false, false, false]);
  assert.deepEqual(['192.0.2.0/24', '192.0.2.1'].map(isPrefix), [true, false]);
});
