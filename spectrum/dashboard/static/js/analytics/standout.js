// What sets failed sessions apart from the others: the value that nearly all of them have, and few others. Numbers alone.

/** Where a cause may be: what failed sessions are compared by. */
export const PLACES = ['origin', 'app', 'node', 'asn', 'country', 'client_prefix', 'tls_version', 'pool'];
const LEAST_FAILED = 10;
const LEAST_SHARE = 0.5;
const LEAST_DISTANCE = 0.25;

/** The value that stands out, or null: {dimension, value, share, rest}; shares of the failed, and of the others.
 * `answers` is [{dimension, rows: [value, failed, sessions]}], `failed` and `sessions` the sums of all. */
export function standout(answers, failed, sessions) {
  const others = sessions - failed;
  if (failed < LEAST_FAILED) return null;
  const found = answers.flatMap(({ dimension, rows }) => rows.filter(([value]) => value !== null && value !== '' && value !== 0)
    .map(([value, bad, all]) => ({ dimension, value, share: bad / failed, rest: others > 0 ? (all - bad) / others : 0 })))
    .filter((one) => one.share >= LEAST_SHARE && one.share - one.rest >= LEAST_DISTANCE);
  return found.sort((a, b) => (b.share - b.rest) - (a.share - a.rest) || PLACES.indexOf(a.dimension) - PLACES.indexOf(b.dimension))[0] || null;
}
