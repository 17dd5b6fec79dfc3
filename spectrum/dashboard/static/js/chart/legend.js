// The legend is the readout: means and peaks of the whole range, and under the crosshair values and shares.

import { foreign, h, put } from '../dom.js';
import { pct } from '../format.js';
import { swatch } from '../marks.js';
import { momentLabel } from './scale.js';
import { measure, total } from './series.js';
import { svg } from './surface.js';

/** Legend of a chart.
 *
 * Options: those of `chart`, and
 *   say(value): a value as text. pick(series, exclude): a click on a name, with Alt `exclude` is true; only for series with `pickable`.
 *   before: the name of the period before, such as 'the day before'. change: how this one compares, as text.
 *   whole: {heads: [second, third], cells: (series) => [second, third], before: [second, third]} in place of mean and peak.
 * Returns {node, update(options), at(index or null)}. */
export function legend(options) {
  let o = options, index = null;
  const node = h('table', { class: 'legend' });
  const shown = (value) => (value === null || value === undefined ? '' : o.say(value));

  // Lines of one hue are told apart by their strokes.
  const stroke = (one) => svg('svg', { class: 'stroke', viewBox: '0 0 16 10', 'aria-hidden': 'true' },
    svg('line', { x1: 0, x2: 16, y1: 5, y2: 5, stroke: `var(--${one.color})`, 'stroke-width': one.width ?? 1.75, 'stroke-dasharray': one.dash }));

  function name(one) {
    const words = [o.kind === 'line' ? stroke(one) : swatch(one.color, one.hatched), foreign(one.label)];
    if (!one.pickable) return h('span', { class: 'key' }, words);
    const button = h('button', { class: 'key', type: 'button', title: 'Only this. With Alt, or x: without it', onclick: (event) => o.pick(one, event.altKey) }, words);
    if (o.onHover) o.onHover(button, one);
    return button;
  }

  function rows(drawn) {
    const now = index !== null, sum = now ? total(o.series.map((one) => one.values))[index] : null;
    return [...o.series].reverse().map((one) => {
      const cells = now ? [shown(one.values[index]), o.kind === 'area' && sum && one.values[index] !== null ? pct(one.values[index] / sum) : '']
        : o.whole ? o.whole.cells(one) : [shown(measure(one.values, drawn).mean), shown(measure(one.values, drawn).peak)];
      return h('tr', {}, h('th', { scope: 'row' }, name(one)), h('td', { class: 'num' }, h('b', {}, cells[0])), h('td', { class: 'num quiet' }, cells[1]));
    });
  }

  function before(drawn) {
    if (!o.compare || !measure(o.compare, drawn).count) return null;
    const cells = index !== null ? [shown(o.compare[index]), ''] : o.whole && o.whole.before ? o.whole.before : [shown(measure(o.compare, drawn).mean), o.change || ''];
    return h('tr', { class: 'before' }, h('th', { scope: 'row' }, h('span', { class: 'key quiet' }, h('i', { class: 'dots', 'aria-hidden': 'true' }), o.before)),
      h('td', { class: 'num quiet' }, cells[0]), h('td', { class: 'num quiet' }, cells[1]));
  }

  function draw() {
    const now = index !== null, range = o.range[1] - o.range[0], drawn = o.times.filter((t) => o.asOf == null || t + o.bucket <= o.asOf).length;
    const heads = now ? ['Value', o.kind === 'area' ? 'Share' : ''] : o.whole ? o.whole.heads : ['Mean', 'Peak'];
    put(node, h('caption', { class: 'vh' }, 'Legend'),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, now ? `At ${momentLabel(o.times[index], range, o.bucket, o.offset)}` : 'Whole range'),
        h('th', { scope: 'col', class: 'num' }, heads[0]), heads[1] ? h('th', { scope: 'col', class: 'num' }, heads[1]) : h('td', {}))),
      h('tbody', {}, rows(drawn), before(drawn)));
  }

  draw();
  return { node, update: (part) => { o = { ...o, ...part }; index = null; draw(); }, at: (to) => { if (to !== index && (to === null || to < o.times.length)) { index = to; draw(); } } };
}
