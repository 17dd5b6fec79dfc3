import { test } from 'node:test';
import assert from 'node:assert/strict';
import { targetFilters, timeOf } from '../../js/analytics/target.js';

test('the target of an attack as filters', () => {
  assert.deepEqual(targetFilters({ destination: '192.0.2.1', destination_port: 53, protocol: 'udp' }), [
    { dimension: 'destination_ip', op: '=', values: ['192.0.2.1'] }, { dimension: 'destination_port', op: '=', values: [53] }, { dimension: 'protocol', op: '=', values: ['udp'] }]);
  assert.deepEqual(targetFilters({ destination: '2001:db8::/64', destination_port: 0, protocol: '' }), [{ dimension: 'destination_ip', op: 'prefix', values: ['2001:db8::/64'] }]);
});

test('its time, with a tenth beside it, and not beyond now', () => {
  const at = (t) => new Date(t * 1000).toISOString();
  assert.deepEqual(timeOf({ began: at(1000), ended: at(3000) }, 9000), [800, 3200]);
  assert.deepEqual(timeOf({ began: at(1000), ended: at(1010) }, 1030), [940, 1030]);
  assert.deepEqual(timeOf({ began: at(1000), ended: null }, 1100), [940, 1100]);
});
