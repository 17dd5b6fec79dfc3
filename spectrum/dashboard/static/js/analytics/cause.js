// A line that says what failed sessions have in common, and a click that filters by it.

import { h, put } from '../dom.js';
import { pct } from '../format.js';
import { mark } from '../marks.js';
import { ask } from './ask.js';
import { dimension, valueLabel } from './catalogue.js';
import { PLACES, standout } from './standout.js';

const VALUES = 3;

/** The line. Options: pick(key, value, exclude), hover(node, key, value). Returns {node, load(view, base, failed, signal)}; `failed` is how many there are. */
export function causeLine({ pick, hover }) {
  const node = h('div', { class: 'cause' });
  let known = '';

  async function load(view, base, failed, signal) {
    const filter = view.filters.filter((one) => one.dimension !== 'outcome'), wanted = JSON.stringify([filter, failed, view.metric.key]);
    if (wanted === known) return; // a live page looks again when there are more
    put(node);
    known = wanted;
    if (!failed) return;
    try {
      const { found, reason } = await look({ ...base, filter, table: 'events', metrics: ['failed', 'sessions'], limit: VALUES }, signal);
      if (found) put(node, line(found, reason));
    } catch {
      known = ''; // a sentence less, until the next time
    }
  }

  function line({ dimension: key, value, share, rest }, reason) {
    const button = h('button', { class: 'bare-link strong', type: 'button', onclick: (event) => pick(key, value, event.altKey) }, h('bdi', {}, valueLabel(key, value)));
    hover(button, key, value);
    return [mark('failed'), h('p', {}, `${pct(share)} of the failed sessions are of ${dimension('events', key).label} `, button, `, which has ${pct(rest)} of the others`,
      reason ? ['; most failed with ', h('code', {}, reason)] : '', '.')];
  }
  return { node, load };
}

async function look(asked, signal) {
  const places = PLACES.filter((one) => !asked.filter.some((each) => each.dimension === one));
  const [sums, reasons, ...rows] = await Promise.all([ask({ ...asked, dimensions: [] }, signal), ask({ ...asked, dimensions: ['reason'] }, signal), ...places.map((one) => ask({ ...asked, dimensions: [one] }, signal))]);
  const [reason] = reasons.rows;
  return { found: standout(rows.map((answer, i) => ({ dimension: places[i], rows: answer.rows })), sums.totals.failed, sums.totals.sessions), reason: reason?.[1] ? reason[0] : '' };
}
