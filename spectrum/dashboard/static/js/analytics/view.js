// What the Analytics page shows, as its address has it. Values alone, no document.

import { dimensions, metric, PERIODS } from './catalogue.js';
import { fromText, toText } from './filters.js';

/** In place of a dimension: the percentiles of a time. */
export const PERCENTILE = 'percentile';
const NOTHING = 'none';
const DEFAULTS = { m: 'sessions', by: 'outcome', vs: 'day', p: '99th' };
const isNumber = (key) => ['events', 'packets'].some((table) => dimensions(table).some((one) => one.key === key && one.number));

/** The view of an address: {metric, by, against, asRate, percentile, filters, more}. */
export function fromQuery(query) {
  const value = (name) => { const given = query[name] ?? DEFAULTS[name]; return given === NOTHING ? '' : given; };
  return valid({ metric: metric(value('m')), by: value('by'), against: value('vs'), asRate: query.as !== 'volume', percentile: value('p'), filters: fromText(query.f, isNumber), more: query.more === '1' });
}

/** A view as an address has it; null is what goes without saying. */
export function toQuery({ metric: m, by, against, asRate, percentile, filters, more }) {
  const said = { m: m.key, by: by || NOTHING, vs: against || NOTHING, p: percentile };
  if (by === PERCENTILE) said.by = DEFAULTS.by;
  const brief = Object.entries(said).map(([name, value]) => [name, value === DEFAULTS[name] ? null : value]);
  return { ...Object.fromEntries(brief), as: asRate ? null : 'volume', f: toText(filters) || null, more: more ? '1' : null };
}

/** A view whose parts fit each other: times go by percentile, filters and groups are of the metric's table. */
export function valid(view) {
  const known = dimensions(view.metric.table), { percentiles } = view.metric;
  let { by } = view;
  if (percentiles && (by === 'outcome' || by === '')) by = PERCENTILE;
  else if (by !== '' && !(percentiles && by === PERCENTILE) && !known.some((one) => one.key === by && !one.single)) by = 'outcome';
  return { ...view, by, against: PERIODS.some((one) => one.key === view.against) ? view.against : '', filters: view.filters.filter((one) => known.some((each) => each.key === one.dimension)) };
}
