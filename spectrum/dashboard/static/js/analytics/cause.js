// A line that says what failed sessions have in common, and a click that filters by it.

import { foreign, h, put } from '../dom.js';
import { pct } from '../format.js';
import { mark } from '../marks.js';
import { dimension, valueLabel } from './catalogue.js';
import { PLACES, standout } from './standout.js';

/** The line. Options: pick(key, value, exclude), hover(node, key, value).
 * Returns {node, show(answers, filters)}; answers are those of the lists: [{dimension, rows: [value, failed, sessions], isWhole}]. */
export function causeLine({ pick, hover }) {
  const node = h('div', { class: 'cause' });

  function show(answers, filters) {
    const whole = answers.filter((one) => one?.isWhole), sum = (index) => Math.max(0, ...whole.map(({ rows }) => rows.reduce((all, row) => all + row[index], 0)));
    const asked = whole.filter((one) => PLACES.includes(one.dimension) && !filters.some((each) => each.dimension === one.dimension));
    const found = standout(asked, sum(1), sum(2)), reasons = answers.find((one) => one?.dimension === 'reason')?.rows ?? [];
    const [reason] = [...reasons].sort((a, b) => b[1] - a[1]);
    put(node, found && line(found, reason?.[1] ? reason[0] : ''));
  }

  function line({ dimension: key, value, share, rest }, reason) {
    const button = h('button', { class: 'bare-link strong', type: 'button', onclick: (event) => pick(key, value, event.altKey) }, foreign(valueLabel(key, value)));
    hover(button, key, value);
    return [mark('failed'), h('p', {}, `${pct(share)} of the failed sessions are of ${dimension('events', key).label} `, button, `, which has ${pct(rest)} of the others`,
      reason ? ['; most failed with ', h('code', {}, reason)] : '', '.')];
  }
  return { node, show };
}
