// What happened, beside the traffic: outages and changes of the configuration, as notes of charts and of the day strip.

import { rows } from './ask.js';
import { outages } from './outages.js';

const MOST = 500;
const BEFORE_S = 86400; // an outage may have begun before the range

/** Notes of [since, until]: [{t, t2?, kind, text, href}]. A table that cannot be read has none. */
export async function annotations(since, until, signal) {
  const [health, changes] = await Promise.allSettled([
    rows('health', { since: since - BEFORE_S, until, limit: MOST }, signal), rows('changes', { since, until, limit: MOST }, signal)]);
  return [...(health.status === 'fulfilled' ? outages(health.value, since, until) : []), ...(changes.status === 'fulfilled' ? changesOf(changes.value) : [])];
}

const changesOf = (changes) => changes.map((row) => ({ t: row.time, kind: 'change', href: '#/audit',
  text: [row.revision ? `revision ${row.revision}` : '', row.author, row.text].filter(Boolean).join(', ') }));
