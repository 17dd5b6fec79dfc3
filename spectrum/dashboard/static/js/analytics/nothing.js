// Nothing matches: which filter is in the way, and how much there is without it.

import { h } from '../dom.js';
import { int } from '../format.js';
import { blank, button } from '../states.js';
import { ask } from './ask.js';
import { dimension, valueLabel } from './catalogue.js';
import { opWords, without } from './filters.js';

const words = (table, { dimension: key, op, values }) => `${dimension(table, key).label} ${opWords(op)} ${values.map((one) => valueLabel(key, one)).join(' or ')}`;

/** A node that says so. `base` is the range of the question; `change(filters)` takes others. */
export async function nothing(view, base, change, signal) {
  const { metric, filters } = view;
  const counts = await Promise.all(filters.map((_, i) => ask({ ...base, table: metric.table, metrics: [metric.name], dimensions: [], filter: without(base.filter, i) }, signal)));
  const helpful = filters.map((filter, i) => ({ filter, i, left: counts[i].totals[metric.name] ?? 0 })).filter((one) => one.left > 0).sort((a, b) => b.left - a.left);
  const text = helpful.length ? 'Without one of the filters there is something:' : filters.length > 1 ? 'Nor does anything if one of the filters is taken away.' : 'There is nothing in this range.';
  return blank(`Nothing in this range has ${filters.map((one) => words(metric.table, one)).join(', and ')}`, text,
    ...helpful.map(({ filter, i, left }) => button([`Without ${words(metric.table, filter)}`, h('span', { class: 'quiet' }, ` ${int(left)}`)], () => change(without(filters, i)))), filters.length > 1 && button('Without any filter', () => change([])));
}
