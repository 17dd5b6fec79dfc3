// The words of the Analytics page: its title, and the answer in a line. No document.

import { bytes, capital, change, dur, int, ms, pct, si } from '../format.js';
import { dimension, PERCENTILES, PERIODS } from './catalogue.js';
import { opWords } from './filters.js';
import { PERCENTILE } from './view.js';

const LEAST_OF_PERIOD = 3 / 4;

export const beforeWords = (view) => PERIODS.find((one) => one.key === view.against).label;
const percentileWords = (key) => PERCENTILES.find((one) => one.key === key).label;

/** The unit of what the chart shows. */
export const unitOf = ({ metric, asRate }, rate) => (metric.additive && asRate && rate ? rate.unit : metric.unit);

/** A value of the chart, and a sum of the range, as text. */
export function saying(view, rate) {
  const { metric } = view, unit = unitOf(view, rate);
  const value = (one) => (!metric.percentiles ? si(one, unit) : metric.key === 'duration' ? dur(one / 1e3) : ms(one * 1e6));
  const sum = (one) => (metric.percentiles ? value(one) : metric.additive ? si(one, metric.unit) : int(one));
  return { value, sum };
}

/** What the chart is of: `Sessions, per second by app`. */
export function titleOf(view, rate) {
  const { metric, by } = view;
  const how = metric.additive && view.asRate ? `, ${rate.words}` : metric.percentiles && by !== PERCENTILE ? `, ${percentileWords(view.percentile)}` : '';
  return capital(metric.label) + how + (by && by !== PERCENTILE ? ` by ${dimension(metric.table, by).label}` : '');
}

/** The sum of the period before, or null: it is no measure where there is hardly anything of it. */
export function sumBefore(view, { found, base }) {
  const first = found.previous?.rows[0]?.[0];
  if (first === undefined || first - base.since > (1 - LEAST_OF_PERIOD) * (base.until - base.since)) return null;
  return found.previous.totals[view.metric.name] || null;
}

/** The answer in a line: how much, against what, and what was wrong in it. `length` is that of the range. */
export function headline(view, shown, length) {
  const { metric } = view, { found, base, rate } = shown, over = found.totals[metric.name], was = sumBefore(view, shown), say = saying(view, rate);
  if (metric.percentiles) return timesLine(view, (shown.whole ?? found).totals, say.value);
  if (!over) return `${metric.table === 'packets' ? 'No packet was sampled in this range' : `No ${metric.label} in this range`}${was ? `; ${say.sum(was)} ${beforeWords(view)}` : ''}.`;
  const mean = metric.additive ? ` in ${dur(length)}, ${si(over * rate.factor / (base.until - base.since), rate.unit)} on average` : '';
  const wrong = metric.parts ? ['failed', 'refused'].filter((one) => found.totals[one] > 0).map((one) => `${int(found.totals[one])} ${one} (${pct(found.totals[one] / over)})`) : [];
  return `${metric.unit === 'B' ? `${bytes(over)} of ${metric.label}` : `${int(over)} ${metric.label}`}${mean}${was ? `, ${comparison(over, was)} ${beforeWords(view)}` : ''}.${wrong.length ? ` ${wrong.join(', ')}.` : ''}`;
}

function timesLine({ metric, by, percentile }, totals, say) {
  const of = (end) => totals[metric.key + end];
  if (of(by === PERCENTILE ? 'Median' : percentile) == null) return 'Nothing was measured in this range.';
  if (by !== PERCENTILE) return `${capital(percentileWords(percentile))} of the ${metric.label}: ${say(of(percentile))}.`;
  return `${capital(metric.label)}: half within ${say(of('Median'))}, nine of ten within ${say(of('90th'))}, 99 of 100 within ${say(of('99th'))}.`;
}

const comparison = (now, was) => { const text = change(now, was); return text.includes('×') ? `${text} that of` : `${text} against`; };

/** Filters in words, for notes and pictures. */
export const filterWords = (view, label) => view.filters.map((one) => `${dimension(view.metric.table, one.dimension).label} ${opWords(one.op)} ${one.values.map((value) => label(one.dimension, value)).join(' or ')}`).join('; ');
