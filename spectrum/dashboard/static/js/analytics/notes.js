// What happened, beside the traffic: outages and changes of the configuration, as notes of charts and of the day strip.

import { rows } from './ask.js';
import { outages } from './outages.js';

const MOST = 500;
const BEFORE_S = 86400; // an outage may have begun before the range

/** Notes of [since, until]: [{t, t2?, kind, text, href}]. A table that cannot be read has none. */
export async function annotations(since, until, signal) {
  const [health, changes, attacks] = await Promise.allSettled([
    rows('health', { since: since - BEFORE_S, until, limit: MOST }, signal), rows('changes', { since, until, limit: MOST }, signal), rows('attacks', { since: since - BEFORE_S, until, limit: MOST }, signal)]);
  return [...(health.status === 'fulfilled' ? outages(health.value, since, until) : []), ...(attacks.status === 'fulfilled' ? attacksOf(attacks.value, since) : []), ...(changes.status === 'fulfilled' ? changesOf(changes.value) : [])];
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
