import assert from 'node:assert/strict';
import test from 'node:test';
import { dimensions } from '../../js/analytics/catalogue.js';
import { flipped, fromText, matching, parseTyped, toText, withFilter, without, withValue } from '../../js/analytics/filters.js';

const EVENTS = dimensions('events');
const typed = (text) => parseTyped(text, EVENTS, 'client_ip');

test('filters are in the address as they are, whatever a name has in it', () => {
  const filters = [{ dimension: 'sni', op: '!=', values: ['a,b;c==d', '<script>', '50%', 'ü'] }, { dimension: 'status', op: '>=', values: [500] }, { dimension: 'client_ip', op: 'prefix', values: ['2001:db8::/32'] }];
  assert.deepEqual(fromText(toText(filters), (one) => one === 'status'), filters);
  assert.equal(toText([{ dimension: 'app', op: '=', values: ['web', 'api'] }]), 'app==web,api');
  for (const op of ['=', '!=', '>', '<', '>=', '<=', 'like', 'not_like', 'prefix', 'not_prefix']) assert.equal(fromText(toText([{ dimension: 'app', op, values: ['x'] }]))[0].op, op);
  assert.deepEqual(fromText('nonsense;;app'), []);
  assert.deepEqual(fromText(undefined), []);
});

test('a click is only this value, with Alt it is without', () => {
  const only = withValue([], 'app', 'web');
  assert.deepEqual(only, [{ dimension: 'app', op: '=', values: ['web'] }]);
  assert.deepEqual(withValue(only, 'app', 'api'), [{ dimension: 'app', op: '=', values: ['api'] }]);
  assert.deepEqual(withValue(only, 'app', 'web', true), [{ dimension: 'app', op: '!=', values: ['web'] }]);
  const two = withValue(withValue([], 'app', 'web', true), 'app', 'api', true);
  assert.deepEqual(two, [{ dimension: 'app', op: '!=', values: ['web', 'api'] }]);
  assert.deepEqual(withValue(two, 'app', 'api'), [{ dimension: 'app', op: '!=', values: ['web'] }, { dimension: 'app', op: '=', values: ['api'] }]);
});

test('chips flip and go', () => {
  const one = [{ dimension: 'app', op: '=', values: ['web'] }];
  assert.equal(flipped(one, 0)[0].op, '!=');
  assert.deepEqual(flipped(flipped(one, 0), 0), one);
  assert.deepEqual(without(one, 0), []);
  assert.deepEqual(withFilter(one, { dimension: 'app', op: '=', values: ['api', 'web'] })[0].values, ['web', 'api']);
  assert.equal(withFilter(one, { dimension: 'status', op: '>', values: [1] }).length, 2);
});

test('what is typed is read as people write it', () => {
  const is = (text, dimension, op, ...values) => assert.deepEqual(typed(text), { dimension, op, values }, text);
  is('app web', 'app', '=', 'web');
  is('app: web, api', 'app', '=', 'web', 'api');
  is('app = "my app"', 'app', '=', 'my app');
  is('-reason:idle_timeout', 'reason', '!=', 'idle_timeout');
  is('reason is not idle_timeout', 'reason', '!=', 'idle_timeout');
  is('client country DE', 'country', '=', 'DE');
  is('client AS AS64500', 'asn', '=', 64500);
  is('asn != 64500', 'asn', '!=', 64500);
  is('status >= 500', 'status', '>=', 500);
  is('203.0.113.7', 'client_ip', '=', '203.0.113.7');
  is('2001:db8::7', 'client_ip', '=', '2001:db8::7');
  is('203.0.113.0/24', 'client_ip', 'prefix', '203.0.113.0/24');
  is('client address in 203.0.113.0/24', 'client_ip', 'prefix', '203.0.113.0/24');
  is('-client address 2001:db8::/32', 'client_ip', 'not_prefix', '2001:db8::/32');
  is('server name %.example.net', 'sni', 'like', '%.example.net');
  assert.deepEqual(typed('app'), { dimension: 'app' });
  assert.match(typed('colour red').error, /no dimension colour/);
  assert.match(typed('port http').error, /port is a number/);
});

test('names that begin with what is typed come first', () => {
  assert.equal(matching('app', EVENTS)[0].key, 'app');
  assert.deepEqual(matching('client', EVENTS).map((one) => one.key).slice(0, 3), ['country', 'asn', 'client_ip']);
  assert.ok(matching('version', EVENTS).some((one) => one.key === 'tls_version'));
  assert.deepEqual(matching('zzz', EVENTS), []);
  assert.equal(matching('', EVENTS).length, EVENTS.length);
});
