import { test } from 'node:test';
import assert from 'node:assert/strict';
import { bySystem, systemOf, trend } from '../../js/analytics/systems.js';
import { attacksOf } from '../../js/analytics/notes.js';

test('verdicts belong to a part of the edge', () => {
  for (const [verdict, system] of [['passed', 'passed'], ['guarded', 'passed'], ['syn_cookies', 'passed'], ['rule ddos/udp-0101-7', 'attacks'], ['rule ddos-mine', 'rules'], ['list bots', 'lists'], ['too_many', 'limits'], ['too_many_syns', 'limits'], ['malformed', 'other']]) {
    assert.equal(systemOf(verdict), system, verdict);
  }
});

test('packets by system, as rates; with a dry run what would be dropped passed', () => {
  const rows = [[0, 'pass', 'passed', 600], [0, 'drop', 'rule ddos/udp-0101-1', 1200], [60, 'drop', 'rule ddos/udp-0101-2', 60], [60, 'pass', 'list bots', 120], [999, 'drop', 'malformed', 1]];
  const made = bySystem(rows, [0, 60], 60);
  assert.deepEqual(made.map(({ key, values, hatched }) => [key, values, hatched]), [['passed', [10, 2], false], ['attacks', [20, 1], true]]);
});

test('the last days against those before', () => {
  const attack = (start, dropped_packets, ...vectors) => ({ start, dropped_packets, bits_per_second: dropped_packets * 8, vectors });
  const { now, before } = trend([attack(990_000, 5, 'a', 'b'), attack(980_000, 7, 'b'), attack(300_000, 2, 'c'), attack(1, 9)], 1_000_000, 7);
  assert.deepEqual([now.count, now.dropped, now.peak, now.vectors], [2, 12, 56, [['b', 2], ['a', 1]]]);
  assert.deepEqual([before.count, before.dropped], [2, 11]);
  assert.equal(trend([], 1_000_000, 7).now.peak, 0);
});

test('rows of one attack are one note', () => {
  const row = (attack, vector, ended = 0) => ({ attack, vector, began: 5e6, ended, app: 'game', destination: '192.0.2.1' });
  assert.deepEqual(attacksOf([row('a', 'NTP', 9e6), row('a', 'SYN'), row('b', 'NTP', 1e6), row('c', 'NTP')], 2), [
    { t: 5, t2: 9, kind: 'mitigated', href: '#/attacks/a', text: 'NTP, SYN on game' }, { t: 5, t2: undefined, kind: 'mitigated', href: '#/attacks/c', text: 'NTP on game' }]);
});
