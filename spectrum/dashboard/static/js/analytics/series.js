// From the answer of a question to series of a chart: numbers alone.

/** Values by bucket: Map of group -> Array of values of the first metric, and the groups in their order.
 * Rows are [time, group, value...] or, without a group, [time, value...]; null is the group of all others. */
export function byGroup(rows, times, hasGroup, missing = 0) {
  const place = new Map(times.map((t, i) => [t, i])), groups = new Map();
  for (const row of rows) {
    const group = hasGroup ? row[1] : '', at = place.get(row[0]);
    if (!groups.has(group)) groups.set(group, times.map(() => missing));
    if (at !== undefined) groups.get(group)[at] = row[hasGroup ? 2 : 1];
  }
  return groups;
}

/** Values of one metric by bucket, without groups. */
export function column(rows, times, index, missing = 0) {
  const values = new Map(rows.map((row) => [row[0], row[index]]));
  return times.map((t) => values.get(t) ?? missing);
}

/** From sums of buckets to what is shown: a rate (by second), or the sum as it is. */
export function shownAs(values, { asRate, factor, additive }, bucket) {
  if (!additive) return values;
  return values.map((one) => (one === null ? null : asRate ? one * factor / bucket : one));
}

const BEFORE = ['passed', 'failed', 'refused'];
/** Order of groups in the stack: outcomes as in the style; others by their sum, the rest on top. */
export function ordered(groups, dimension) {
  const keys = [...groups.keys()];
  if (dimension === 'outcome') return BEFORE.filter((one) => groups.has(one)).concat(keys.filter((one) => !BEFORE.includes(one)));
  const sum = (key) => groups.get(key).reduce((all, one) => all + (one ?? 0), 0);
  return keys.filter((one) => one !== null).sort((a, b) => sum(b) - sum(a)).concat(groups.has(null) ? [null] : []);
}

/** How a metric's rates are told: {factor, unit, words}. What is rarer than once a second is told by minute. */
export function rateOf({ factor, rateUnit }, meanBySecond) {
  if (rateUnit !== '/s') return { factor, unit: rateUnit, words: rateUnit };
  return meanBySecond < 1 ? { factor: 60, unit: '/min', words: 'per minute' } : { factor, unit: rateUnit, words: 'per second' };
}

/** Without what is before the first row: of the period before there may be nothing that old. */
export const begun = (values, first, times) => values.map((one, i) => (times[i] < first ? null : one));
