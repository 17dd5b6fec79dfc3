// Which part of the edge decided on a packet, and how the last days compare. Plain data, no document.

const DAY = 86400;
/** From the bottom of the stack: [key, label, color]. */
export const SYSTEMS = [
  ['passed', 'passed', 'passed'], ['attacks', 'kept off: attacks', 'mitigated'], ['rules', 'kept off: your rules', 'cat-2'], ['lists', 'kept off: lists', 'cat-3'], ['limits', 'kept off: limits', 'cat-4'],
  ['other', 'kept off: malformed', 'cat-other']];

/** The system of a verdict of the filter; rules for attacks are those of the owner `ddos`. */
export function systemOf(verdict) {
  const [what, name = ''] = verdict.split(' ');
  if (what === 'rule') return name.startsWith('ddos/') ? 'attacks' : 'rules';
  if (what === 'list') return 'lists';
  if (what.startsWith('too_many')) return 'limits';
  return ['passed', 'guarded', 'syn_cookies'].includes(what) ? 'passed' : 'other';
}

/** From rows [time, outcome, verdict, bits] to values by system, in bits a second; without those that have none. */
export function bySystem(rows, times, bucket) {
  const place = new Map(times.map((t, i) => [t, i])), sums = new Map(SYSTEMS.map(([key]) => [key, times.map(() => 0)]));
  for (const [t, outcome, verdict, bits] of rows) if (place.has(t)) sums.get(outcome === 'pass' ? 'passed' : systemOf(verdict))[place.get(t)] += bits / bucket;
  return SYSTEMS.filter(([key]) => key === 'passed' || sums.get(key).some(Boolean)).map(([key, label, color]) => ({ key, label, color, hatched: key !== 'passed', values: sums.get(key) }));
}

/** Attacks of the last `days`, and of as many before: {now, before}, each {count, dropped, peak, vectors: [[name, how many]]}. */
export function trend(attacks, now, days) {
  const of = (from, to) => {
    const some = attacks.filter((one) => one.start >= from && one.start < to), vectors = new Map();
    for (const one of some) for (const name of one.vectors) vectors.set(name, (vectors.get(name) ?? 0) + 1);
    return { count: some.length, dropped: some.reduce((sum, one) => sum + one.dropped_packets, 0), peak: Math.max(0, ...some.map((one) => one.bits_per_second)), vectors: [...vectors].sort((a, b) => b[1] - a[1]) };
  };
  return { now: of(now - days * DAY, now + DAY), before: of(now - 2 * days * DAY, now - days * DAY) };
}
