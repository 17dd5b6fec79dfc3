// State marks: a shape for each, so that they say it without colour, too.
import { h } from './dom.js';

const v = (name) => `var(--${name})`;
const SHAPES = {
  ok: () => h('circle', { cx: 6, cy: 6, r: 3, fill: v('ink-3') }),
  passed: () => h('circle', { cx: 6, cy: 6, r: 3.5, fill: v('passed') }),
  idle: () => h('circle', { cx: 6, cy: 6, r: 3.5, fill: 'none', stroke: v('control'), 'stroke-width': 1.25 }),
  degraded: () => [
    h('circle', { cx: 6, cy: 6, r: 5, fill: v('surface'), stroke: v('degraded-text'), 'stroke-width': 1.5 }),
    h('path', { d: 'M6 1a5 5 0 0 0 0 10z', fill: v('degraded-text') }),
  ],
  failed: () => [
    h('circle', { cx: 6, cy: 6, r: 6, fill: v('failed') }),
    h('path', { d: 'M4 4l4 4M8 4l-4 4', stroke: '#fff', 'stroke-width': 1.75, 'stroke-linecap': 'round' }),
  ],
  mitigated: () => [
    h('rect', { x: .75, y: .75, width: 10.5, height: 10.5, rx: 1, fill: v('mitigated'), stroke: v('mitigated-line'), 'stroke-width': 1.25 }),
    h('path', { d: 'M1.5 7 7 1.5M3 10.5 10.5 3M7 10.5l3.5-3.5', stroke: v('mitigated-line'), 'stroke-width': 1.25 }),
  ],
  change: () => h('path', { d: 'M6 1.5l4.75 9h-9.5z', fill: v('surface'), stroke: v('ink-2'), 'stroke-width': 1.25, 'stroke-linejoin': 'round' }),
};

/** Return a mark; `label` is what it says where no text beside it does. */
export function mark(kind, label) {
  const told = label ? { role: 'img', 'aria-label': label } : { 'aria-hidden': 'true' };
  return h('svg', { class: 'mark', viewBox: '0 0 12 12', ...told }, (SHAPES[kind] || SHAPES.idle)());
}

/** Return a mark with its word. */
export const state = (kind, ...text) => h('span', { class: `st ${kind}` }, mark(kind), text);

/** Return a square of a token's colour, as a legend has it. */
export function swatch(color, hatched = false) {
  const lines = hatched && h('path', { d: 'M0 5 5 0M0 10 10 0M5 10l5-5', stroke: color === 'mitigated' ? v('mitigated-line') : v('ink-2'), 'stroke-width': 1 });
  return h('svg', { class: 'sw', viewBox: '0 0 10 10', 'aria-hidden': 'true' }, h('rect', { width: 10, height: 10, fill: v(color) }), lines);
}
