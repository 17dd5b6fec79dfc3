// The largest values of each dimension: five of so many, what they are made of, and a click to filter.

import { foreign, h, put } from '../dom.js';
import { capital, int, pct } from '../format.js';
import { bones } from '../states.js';
import { ask } from './ask.js';
import { dimension, valueLabel } from './catalogue.js';

const SHOWN = 5;
// So many are asked for: those that failed most are among them, wherever few values are.
const ASKED = 100;
const PARTS = [['refused', 'mitigated'], ['failed', 'failed']];
const PLAIN = { failed: 'failed', refused: 'mitigated' };

/** A list of a dimension of `table`. Options: pick(key, value, exclude), hover(node, key, value); `title` in place of the
 * dimension's name; `isLink`: a value leads elsewhere, and cannot be excluded.
 * Returns {node, load({metric, base, say}, signal)}, which keeps what it shows until the new answer is there, and gives it:
 * {dimension, rows: [value, failed, sessions], isWhole}, or null where that was not asked. */
export function top({ table, key, pick, hover, title, isLink = false }) {
  const count = h('span', {}), list = h('ul', {});
  const node = h('section', { class: 'topn', 'data-dimension': key }, h('h3', {}, title || capital(dimension(table, key).label), count), list);
  put(list, h('li', { class: 'wait' }, bones(3, 140)));

  async function load(wanted, signal, onFault) {
    const { metric, base } = wanted, metrics = metric.parts ? [metric.name, 'failed', 'refused'] : metric.outcome ? [metric.name, 'sessions'] : [metric.name];
    try {
      const answer = await ask({ ...base, table, dimensions: [key], limit: ASKED, metrics }, signal);
      draw(wanted, answer);
      const isWhole = answer.groups <= answer.rows.length;
      if (metric.parts) return { dimension: key, isWhole, rows: answer.rows.map(([value, sessions, failed]) => [value, failed, sessions]) };
      return metric.outcome === 'failed' ? { dimension: key, isWhole, rows: answer.rows } : null;
    } catch (error) {
      if (error.name !== 'AbortError' && onFault) onFault(error);
      else if (error.name !== 'AbortError') put(list, h('li', { class: 'wait quiet' }, h('p', {}, error.text || error.message), h('button', { class: 'mini', type: 'button', onclick: () => load(wanted, signal) }, 'Try again')));
      return null;
    }
  }

  function draw({ metric, say }, answer) {
    // A value without any of what is shown is none of it.
    const there = answer.rows.filter((row) => row[1] !== null && (row[1] > 0 || !metric.additive)), shown = there.slice(0, SHOWN);
    const groups = answer.groups <= answer.rows.length ? there.length : answer.groups, left = groups - shown.length;
    const sum = (index) => shown.reduce((all, row) => all + row[index], 0), total = (name) => answer.totals[name] ?? 0;
    const scale = { metric, say, all: total(metric.name), most: Math.max(0, ...shown.map((row) => row[1])) };
    const rest = metric.additive && left > 0 ? [null, scale.all - sum(1), ...(metric.parts ? [total('failed') - sum(2), total('refused') - sum(3)] : [])] : null;
    put(count, left > 0 ? `${shown.length} of ${int(groups)}` : shown.length > 1 ? String(shown.length) : '');
    put(list, shown.map((row) => item(row, scale)), rest && other(rest, scale, left), !shown.length && h('li', { class: 'quiet' }, 'none'));
  }

  function bars([, value, ...parts], { metric, all, most }) {
    const width = (part) => `${((metric.additive ? part / (all || 1) : part / (most || 1)) * 100).toFixed(2)}%`;
    const plain = metric.color || PLAIN[metric.outcome] || (metric.percentiles || metric.key === 'clients' ? 'idle' : 'passed');
    const [failed, refused] = metric.parts ? parts : [0, 0];
    const pieces = [[plain, value - failed - refused], ...PARTS.map(([name, color]) => [color, name === 'failed' ? failed : refused])];
    return h('span', { class: 'bars', 'aria-hidden': 'true' }, pieces.filter(([, part]) => part > 0).map(([color, part]) => h('i', { class: color, css: { width: width(part) } })));
  }

  const figures = (value, { metric, say, all }) => h('span', { class: 'val' }, say(value), metric.additive && all ? h('span', { class: 'quiet' }, ` · ${pct(value / all)}`) : null);

  function item(row, scale) {
    const [value, amount] = row, label = valueLabel(key, value);
    const only = h('button', { class: 'n', type: 'button', title: label, 'aria-label': isLink ? null : `Only ${label}`, onclick: (event) => pick(key, value, event.altKey) }, foreign(label));
    const line = h('li', {}, only, figures(amount, scale),
      !isLink && h('span', { class: 'do' }, h('button', { class: 'mini', type: 'button', 'aria-label': `Without ${label}`, onclick: () => pick(key, value, true) }, 'without')), bars(row, scale));
    hover(line, key, value);
    return line;
  }

  const other = (row, scale, left) => h('li', {}, h('span', { class: 'n quiet' }, `${int(left)} ${left === 1 ? 'other' : 'others'}`), figures(row[1], scale), bars(row, scale));

  return { node, load };
}
