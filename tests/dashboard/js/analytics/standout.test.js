import assert from 'node:assert/strict';
import test from 'node:test';
import { standout } from '../../js/analytics/standout.js';

const answers = [
  { dimension: 'origin', rows: [['db/pg-2', 90, 200], ['db/pg-1', 5, 1000]] },
  { dimension: 'app', rows: [['db', 95, 1300], ['web', 5, 4700]] },
  { dimension: 'node', rows: [['edge-1', 100, 6000]] },
  { dimension: 'country', rows: [['', 99, 100]] },
];

test('the narrowest place of nearly all failures stands out', () => {
  const found = standout(answers, 100, 6000);
  assert.deepEqual([found.dimension, found.value, found.share], ['origin', 'db/pg-2', 0.9]);
  assert.ok(found.rest < 0.02);
});

test('what all sessions have, what is unknown, and what is rare stands out of nothing', () => {
  assert.equal(standout(answers.slice(2), 100, 6000), null);
  assert.equal(standout(answers, 9, 6000), null);
  assert.equal(standout([{ dimension: 'app', rows: [['a', 40, 50], ['b', 35, 45]] }], 100, 6000), null);
  assert.equal(standout([{ dimension: 'app', rows: [['a', 100, 100]] }], 100, 100).rest, 0);
});
