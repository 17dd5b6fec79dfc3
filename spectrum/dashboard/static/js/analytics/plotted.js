// From an answer to what the chart shows. Numbers alone.

import { bucketTimes } from '../chart/scale.js';
import { int, pct } from '../format.js';
import { PERCENTILES, valueLabel } from './catalogue.js';
import { begun, byGroup, column, ordered, rateOf, shownAs } from './series.js';
import { PERCENTILE } from './view.js';
import { saying } from './words.js';

const STROKES = [{ width: 1, dash: '4 2' }, { width: 1.5 }, { width: 2 }]; // of the 99th, the 90th, the median
const OUTCOMES = { failed: 'failed', refused: 'mitigated' };

/** Names of the metrics that a view asks for, the one that is shown first. */
export function metricsOf({ metric, by, percentile }) {
  if (by === PERCENTILE) return PERCENTILES.map((one) => metric.key + one.key);
  if (metric.percentiles) return [metric.key + percentile];
  return metric.parts ? [metric.name, 'failed', 'refused'] : [metric.name];
}

/** {times, series, compare, kind, rate} of an answer. `paint` gives groups their colours. */
export function plotted(view, found, { since, until }, bucket, paint) {
  const { metric, by } = view, times = bucketTimes(since, until, bucket), missing = metric.additive ? 0 : null;
  const rate = rateOf(metric, (found.totals[metric.name] ?? 0) / (until - since));
  const look = { asRate: view.asRate, factor: rate.factor, additive: metric.additive };
  const told = { times, rate, kind: metric.additive ? 'area' : 'line', compare: periodBefore(found.previous, times, by === PERCENTILE, missing, look, bucket) };
  if (by === PERCENTILE) return { ...told, series: percentiles(found, times) };
  const groups = byGroup(found.rows, times, by !== '', missing);
  if (by === '' && !groups.size) groups.set('', times.map(() => missing));
  const order = by === '' ? [''] : ordered(groups, by), rest = found.groups - order.filter((one) => one !== null).length;
  const colors = by === '' ? [{ color: OUTCOMES[metric.outcome] || 'passed' }] : paint(by, order);
  const label = (value) => (value === null ? `${int(rest)} ${rest === 1 ? 'other' : 'others'}` : by === '' ? metric.label : valueLabel(by, value));
  return { ...told, series: order.map((value, i) => ({ ...colors[i], key: value, label: label(value), pickable: by !== '' && value !== null, values: shownAs(groups.get(value), look, bucket) })) };
}

const percentiles = (found, times) => PERCENTILES.map((one, i) => ({ key: one.key, label: one.label, color: 'passed', ...STROKES[i], pickable: false, values: column(found.rows, times, 1 + i, null) })).reverse();

// Of percentiles the median is compared.
function periodBefore(previous, times, isPercentiles, missing, look, bucket) {
  if (!previous?.rows.length) return null;
  return shownAs(begun(column(previous.rows, times, isPercentiles ? PERCENTILES.length : 1, missing), previous.rows[0][0], times), look, bucket);
}

/** What the legend has of the whole range, where these are not the mean and the peak: sums and shares of volumes; of what
 * does not add up, the value of the whole range and the peak. `against` is the comparison with the period before. */
export function wholeRange(view, { series, compare, whole, rate }, against) {
  const { metric, by } = view, say = saying(view, rate);
  if (metric.additive && view.asRate) return null;
  if (metric.additive) {
    const sum = (values) => values.reduce((all, one) => all + (one ?? 0), 0), all = series.reduce((total, one) => total + sum(one.values), 0);
    return { heads: ['Total', 'Share'], cells: (one) => [say.sum(sum(one.values)), all ? pct(sum(one.values) / all) : ''], before: [say.sum(sum(compare || [])), against] };
  }
  const rows = whole.rows, value = (one) => (by === PERCENTILE ? rows[0]?.[PERCENTILES.findIndex((each) => each.key === one.key)] : by === '' ? rows[0]?.[0] : rows.find((row) => row[0] === one.key)?.[1]);
  const shown = (amount) => (amount === null || amount === undefined ? '' : say.value(amount));
  return { heads: ['All', 'Peak'], cells: (one) => [shown(value(one)), shown(Math.max(...one.values.map((each) => each ?? 0)))], before: ['', ''] };
}
