// The largest values of each dimension: five of so many, what they are made of, and a click to filter.

import { h, put } from '../dom.js';
import { capital, int, pct } from '../format.js';
import { bones } from '../states.js';
import { ask } from './ask.js';
import { dimension, valueLabel } from './catalogue.js';

export const SHOWN = 5;
const PARTS = [['refused', 'mitigated'], ['failed', 'failed']];

/** What a list of a dimension is asked. */
export const question = (base, metric, key) => ({ ...base, table: metric.table, dimensions: [key], limit: SHOWN, others: metric.additive,
  metrics: metric.parts ? [metric.name, 'failed', 'refused'] : [metric.name] });

/** A list of a dimension of `table`. Options: pick(key, value, exclude), hover(node, key, value).
 * Returns {node, load({metric, base, say}, signal)}; it keeps what it shows until the new answer is there. */
export function top({ table, key, pick, hover }) {
  const count = h('span', {}), list = h('ul', {});
  const node = h('section', { class: 'topn', 'data-dimension': key }, h('h3', {}, capital(dimension(table, key).label), count), list);
  let metric = null, say = null;
  put(list, h('li', { class: 'wait' }, bones(3, 140)));

  async function load(wanted, signal) {
    try {
      const answer = await ask(question(wanted.base, wanted.metric, key), signal);
      ({ metric, say } = wanted);
      const shown = answer.rows.filter((row) => row[0] !== null && row[1] !== null), rest = answer.rows.find((row) => row[0] === null);
      const all = answer.totals[metric.name] ?? answer.rows.reduce((sum, row) => sum + row[1], 0);
      const most = Math.max(...answer.rows.map((row) => row[1]), 0);
      put(count, answer.groups > shown.length ? `${shown.length} of ${int(answer.groups)}` : shown.length > 1 ? String(shown.length) : '');
      put(list, shown.map((row) => item(row, all, most)), rest && answer.groups > shown.length && other(rest, all, most, answer.groups - shown.length),
        !shown.length && h('li', { class: 'quiet' }, 'none'));
    } catch (error) {
      if (error.name !== 'AbortError') put(list, h('li', { class: 'wait quiet' }, h('p', {}, error.text || error.message), h('button', { class: 'mini', type: 'button', onclick: () => load(wanted, signal) }, 'Try again')));
    }
  }

  function bars([, value, ...parts], all, most) {
    const width = (part) => `${((metric.additive ? part / (all || 1) : part / (most || 1)) * 100).toFixed(2)}%`;
    const plain = metric.outcome === 'failed' ? 'failed' : metric.outcome === 'refused' ? 'mitigated' : metric.percentiles || metric.key === 'clients' ? 'idle' : 'passed';
    const pieces = [[plain, value]];
    if (metric.parts) {
      const [failed, refused] = parts;
      pieces[0][1] = Math.max(0, value - failed - refused);
      for (const [name, color] of PARTS) pieces.push([color, name === 'failed' ? failed : refused]);
    }
    return h('span', { class: 'bars', 'aria-hidden': 'true' }, pieces.filter(([, part]) => part > 0).map(([color, part]) => h('i', { class: color, css: { width: width(part) } })));
  }

  const figures = (value, all) => h('span', { class: 'val' }, say(value), metric.additive && all ? h('span', { class: 'quiet' }, ` · ${pct(value / all)}`) : null);

  function item(row, all, most) {
    const [value, amount] = row, label = valueLabel(key, value);
    const only = h('button', { class: 'n', type: 'button', title: label, 'aria-label': `Only ${label}`, onclick: (event) => pick(key, value, event.altKey) }, h('bdi', {}, label));
    const node = h('li', {}, only, figures(amount, all),
      h('span', { class: 'do' }, h('button', { class: 'mini', type: 'button', 'aria-label': `Without ${label}`, onclick: () => pick(key, value, true) }, 'without')), bars(row, all, most));
    hover(node, key, value);
    return node;
  }

  const other = (row, all, most, count_) => h('li', {}, h('span', { class: 'n quiet' }, `${int(count_)} ${count_ === 1 ? 'other' : 'others'}`), figures(row[1], all), bars(row, all, most));

  return { node, load };
}
