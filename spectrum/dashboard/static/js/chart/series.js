// Sums over series of values by bucket. A value is a number, or null where there is no data.

/** Edges of stacked areas from the first series up: [{low, high}], null where there is no data. */
export function stack(rows) {
  let below = null;
  return rows.map((values) => {
    const low = below ?? values.map((one) => (one === null ? null : 0));
    const high = values.map((one, i) => (one === null || low[i] === null ? null : low[i] + one));
    below = high;
    return { low, high };
  });
}

/** Sum of all series by bucket, null where no series has data. */
export function total(rows) {
  if (!rows.length) return [];
  return rows[0].map((_, i) => rows.reduce((sum, row) => (row[i] === null ? sum : (sum ?? 0) + row[i]), null));
}

/** {mean, peak, peakAt, sum, count} of what there is; nulls where there is nothing. */
export function measure(values, until = values.length) {
  let sum = 0, count = 0, peak = null, peakAt = null;
  for (let i = 0; i < until; i++) {
    if (values[i] === null) continue;
    sum += values[i]; count += 1;
    if (peak === null || values[i] > peak) { peak = values[i]; peakAt = i; }
  }
  return { mean: count ? sum / count : null, peak, peakAt, sum, count };
}

/** Pieces without a hole, as [from, to) of indexes. */
export function pieces(values, until = values.length) {
  const found = [];
  let from = null;
  for (let i = 0; i <= until; i++) {
    const has = i < until && values[i] !== null;
    if (has && from === null) from = i;
    if (!has && from !== null) { found.push([from, i]); from = null; }
  }
  return found;
}

/** The largest value that a chart of this kind has to show. */
export function highest(kind, rows, compare, until) {
  const shown = kind === 'area' ? [total(rows)] : rows;
  return [...shown, ...(compare ? [compare] : [])]
    .reduce((top, row) => Math.max(top, measure(row, kind === 'area' && row !== compare ? until : row.length).peak ?? 0), 0);
}

/** The chart in a sentence, made of its extremes, for those who do not see it.
 * `say` makes words of a value, `at` words of an index. */
export function sentence({ label, kind, series, notes = [] }, say, at, until) {
  const rows = series.map((one) => one.values);
  const parts = [];
  if (!rows.length || !rows.some((row) => measure(row, until).count)) parts.push(`${label}: no data`);
  else if (kind === 'area' && series.length > 1) {
    const all = measure(total(rows), until);
    parts.push(`${label}: mean ${say(all.mean)}, highest ${say(all.peak)} at ${at(all.peakAt)}`);
    const largest = series.map((one) => [one.label, measure(one.values, until)])
      .filter(([, one]) => one.count).sort((a, b) => b[1].mean - a[1].mean).slice(0, 3);
    parts.push(`most is ${largest.map(([name, one]) => `${name}, ${say(one.mean)}`).join('; ')}`);
  } else {
    const told = series.map((one) => [one.label, measure(one.values, until)]).filter(([, one]) => one.count);
    parts.push(`${label}: ${told.slice(0, 4).map(([name, one]) =>
      `${name} mean ${say(one.mean)}, highest ${say(one.peak)} at ${at(one.peakAt)}`).join('; ')}`);
  }
  const words = notes.filter((one) => one.kind !== 'change' && one.kind !== 'gap').map((one) => one.text);
  if (words.length) parts.push(`events: ${words.slice(0, 3).join('; ')}${words.length > 3 ? ` and ${words.length - 3} more` : ''}`);
  return `${parts.join('. ')}.`;
}
