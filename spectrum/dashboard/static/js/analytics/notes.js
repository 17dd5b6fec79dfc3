// What happened, beside the traffic: outages and changes of the configuration, as notes of charts and of the day strip.

import { api } from '../api.js';
import { rows } from './ask.js';
import { outages } from './outages.js';

const MOST = 500;
const BEFORE_S = 86400; // an outage may have begun before the range
const KEPT_MS = 4000; // less than a page waits until it asks again
const SAME_S = 900; // a range that is widened to whole buckets
let asked = null;

/** Notes of [since, until]: [{t, t2?, kind, text, href}]. A table that cannot be read has none. */
export async function annotations(since, until, signal) {
  const [health, changes, attacks] = await happened(since, until);
  signal?.throwIfAborted();
  return [...outages(health, since, until), ...attacksOf(attacks, since), ...changesOf(changes.filter((row) => row.time >= since && row.time <= until))];
}

// The day strip and the page below it ask at once, and of nearly the same time: what the one asked, the other is told.
function happened(since, until) {
  const knows = asked && Date.now() - asked.at < KEPT_MS && asked.account === api.account?.id && since >= asked.since - SAME_S && until <= asked.until + KEPT_MS / 1000;
  if (!knows) {
    const read = (table, before) => rows(table, { since: since - before, until, limit: MOST }).catch(() => []);
    asked = { since, until, at: Date.now(), account: api.account?.id, found: Promise.all([read('health', BEFORE_S), read('changes', SAME_S), read('attacks', BEFORE_S)]) };
  }
  return asked.found;
}

/** Each attack once, of its rows, newest first: its vectors, from its begin to its end. */
export function attacksOf(list, since) {
  const found = new Map();
  for (const row of list) {
    const one = found.get(row.attack) ?? { t: row.began / 1e6, t2: undefined, kind: 'mitigated', vectors: new Set(), where: row.app || row.destination, href: `#/attacks/${row.attack}` };
    if (row.ended) one.t2 = row.ended / 1e6;
    one.vectors.add(row.vector);
    found.set(row.attack, one);
  }
  return [...found.values()].filter((one) => one.t2 === undefined || one.t2 > since).map(({ vectors, where, ...one }) => ({ ...one, text: `${[...vectors].join(', ')} on ${where}` }));
}

const changesOf = (changes) => changes.map((row) => ({ t: row.time, kind: 'change', href: '#/audit',
  text: [row.revision ? `revision ${row.revision}` : '', row.author, row.text].filter(Boolean).join(', ') }));
