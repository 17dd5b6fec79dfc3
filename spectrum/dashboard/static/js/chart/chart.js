// One chart: stacked areas or lines over time, a lane of events above, the period before as dots, crosshair, brush, keyboard.
//
// Three layers stand over each other, so that the crosshair redraws nothing but itself: the ground (hairlines, gaps), the
// data (SVG, or canvas where there is much of it), and the front (events, axis, crosshair).

import { layout } from './layout.js';
import { paintBar, paintData, paintFront, paintGround, paintMark } from './paint.js';
import { held, momentLabel } from './scale.js';
import { highest, sentence } from './series.js';
import { canvasSurface, svg, svgSurface } from './surface.js';
import { zoneOffset } from './zone.js';

const MOST_SVG_VALUES = 3200; // 400 buckets of 8 series
const DAY = 86400;
const HOLD_MS = 350;
const MOVED_PX = 8;
const LEAST_BRUSH_PX = 4;
const KEYS = 'Arrow keys move the crosshair, with Shift they select, Enter zooms in, minus zooms out.';

/** Make a chart.
 *
 * Options:
 *   kind: 'area' (stacked parts of a sum) or 'line'. label: what is shown, for those who do not see it. unit: 'bit/s'.
 *   series: [{key, label, color, values, edge?, hatched?, dash?, width?}], from the bottom; values are numbers, or null for no data.
 *   times: starts of the buckets in epoch seconds; bucket: their width. range: [since, until] of the axis.
 *   asOf: the newest event; buckets that are not over by then are not drawn.
 *   notes: [{t, t2?, kind, text, href?}]; kind is failed, degraded, mitigated, change, or gap (time without data: why).
 *   compare: values of the period before. lines: [{value, text}]. height, left, ticks, axis: false (no time axis).
 *   live: the axis holds still, and a canvas is used. offset: of the time zone, in seconds.
 *   say(value): a value in words. onBrush([since, until]), onZoomOut(), onCross(index or null).
 * Returns {node, update(part), cross(index or null), options}. */
export function chart(options) {
  const o = { height: 240, series: [], times: [], bucket: 60, unit: '', label: 'Chart', offset: zoneOffset(), ...options };
  const node = document.createElement('div'), tip = document.createElement('div'), said = document.createElement('div');
  const ground = svg('svg', { class: 'ground', 'aria-hidden': 'true' }), front = svg('svg', { class: 'front', role: 'group' });
  const shapes = svg('svg', { class: 'data', role: 'img', 'aria-label': o.label }), canvas = document.createElement('canvas');
  const moving = svg('g', { class: 'moving' });
  const at = { layout: null, cross: null, from: null, down: null, hold: null, axis: null, frame: 0, shrink: 0 };
  node.className = 'chart'; node.tabIndex = 0; node.setAttribute('role', 'group');
  canvas.className = 'data'; canvas.setAttribute('role', 'img'); canvas.setAttribute('aria-label', o.label);
  tip.className = 'tip'; tip.hidden = true; tip.setAttribute('aria-hidden', 'true');
  said.className = 'vh'; said.setAttribute('aria-live', 'polite');
  front.setAttribute('aria-label', 'Events and time axis');

  const words = (value) => (o.say ? o.say(value) : `${Number(value.toPrecision(3))} ${o.unit}`.trim());
  const moment = (i) => momentLabel(o.times[i], at.layout.until - at.layout.since, o.bucket, o.offset);
  const size = (element, width) => { element.setAttribute('width', width); element.setAttribute('height', o.height); element.setAttribute('viewBox', `0 0 ${width} ${o.height}`); };

  function draw() {
    at.frame = 0;
    const width = node.clientWidth;
    if (!width) return;
    const live = o.live ? { most: heldMost() } : {};
    const l = at.layout = layout({ ...o, ...live }, width);
    if (at.cross !== null) at.cross = l.drawn ? Math.min(at.cross, l.drawn - 1) : null;
    node.setAttribute('aria-label', `${o.label}. ${KEYS}`);
    for (const element of [ground, front, shapes]) size(element, width);
    const behind = svgSurface();
    paintGround(behind, l, o);
    ground.replaceChildren(...behind.nodes);
    const data = o.canvas ?? (o.live || o.series.length * o.times.length > MOST_SVG_VALUES) ? drawCanvas(l, width) : drawShapes(l);
    data.setAttribute('aria-label', sentence(o, words, moment, l.drawn));
    drawFront(l);
    if (node.children[1] !== data) node.replaceChildren(ground, data, front, tip, said);
    drawMoving();
  }

  function heldMost() {
    const now = performance.now() / 1000;
    at.axis = held(at.axis, highest(o.kind, o.series.map((one) => one.values), o.compare, o.times.length), now);
    return at.axis.shown;
  }

  function drawShapes(l) {
    const surface = svgSurface();
    paintData(surface, l, o);
    shapes.replaceChildren(...surface.nodes);
    return shapes;
  }

  function drawCanvas(l, width) {
    const scale = globalThis.devicePixelRatio || 1, context = canvas.getContext('2d');
    canvas.width = Math.round(width * scale); canvas.height = Math.round(o.height * scale);
    canvas.style.width = `${width}px`; canvas.style.height = `${o.height}px`;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    paintData(canvasSurface(context, node), l, o);
    return canvas;
  }

  function drawFront(l) {
    const surface = svgSurface();
    paintFront(surface, l, o);
    const events = l.events.bars.map((bar) => linked(bar.note, (each) => paintBar(each, l, bar, tooltip(bar.note))));
    const marks = l.events.marks.map((mark) => linked(mark.notes[0], (each) => paintMark(each, l, mark)));
    front.replaceChildren(...surface.nodes, ...events.flat(), ...marks.flat(), moving);
  }

  const tooltip = (note) => `${momentLabel(note.t, 2 * DAY, 1, o.offset)} ${note.text}`;
  const linked = (note, paint) => {
    const surface = svgSurface();
    paint(surface);
    return note.href ? [svg('a', { href: note.href, class: 'note' }, surface.nodes)] : surface.nodes;
  };

  function drawMoving() {
    const l = at.layout, nodes = [];
    tip.hidden = at.cross === null;
    if (l && at.cross !== null) {
      const x = Math.max(l.x0, Math.min(l.x1, l.x(o.times[at.cross] + o.bucket / 2)));
      const chosen = selected();
      if (chosen) {
        const a = Math.max(l.x0, l.x(chosen[0])), b = Math.min(l.x1, l.x(chosen[1]));
        nodes.push(svg('rect', { class: 'chosen', x: a, y: l.y0 - 2, width: Math.max(0, b - a), height: l.y1 - l.y0 + 2 }));
      }
      nodes.push(svg('line', { class: 'cross', x1: Math.round(x) + 0.5, x2: Math.round(x) + 0.5, y1: l.y0 - 2, y2: l.y1 }));
      tip.textContent = chosen ? chosen.map((t) => momentLabel(t, l.until - l.since, Math.min(o.bucket, 59), o.offset)).join(' – ') : moment(at.cross);
      tip.style.left = `${Math.min(l.width - 48, Math.max(48, x))}px`;
      tip.style.top = `${o.axis === false ? l.y1 - 18 : o.height - 20}px`;
    }
    moving.replaceChildren(...nodes);
  }

  function selected() {
    if (at.from === null || at.cross === null || at.from === at.cross) return null;
    const [a, b] = at.from < at.cross ? [at.from, at.cross] : [at.cross, at.from];
    return [o.times[a], o.times[b] + o.bucket];
  }

  function cross(index, told = true) {
    if (index === at.cross) return;
    at.cross = index;
    drawMoving();
    if (told && o.onCross) o.onCross(index);
  }

  function clear() { at.from = at.down = null; cross(null); drawMoving(); }

  function zoom() {
    const chosen = selected();
    clear();
    if (chosen && o.onBrush) o.onBrush(chosen);
  }

  const under = (event) => at.layout.at(event.clientX - node.getBoundingClientRect().left);
  const ready = () => at.layout && at.layout.drawn > 0;

  function begin(event) {
    at.down = event.clientX; at.from = under(event);
    node.setPointerCapture(event.pointerId);
    cross(at.from);
  }

  node.addEventListener('pointerdown', (event) => {
    if (!ready() || event.button || event.target.closest('a')) return;
    if (event.pointerType !== 'touch') { if (o.onBrush) begin(event); return; }
    at.down = event.clientX;
    at.hold = setTimeout(() => { at.hold = null; if (o.onBrush) begin(event); }, HOLD_MS);
  });
  node.addEventListener('pointermove', (event) => {
    if (!ready()) return;
    if (at.hold && Math.abs(event.clientX - at.down) > MOVED_PX) { clearTimeout(at.hold); at.hold = null; }
    if (event.pointerType === 'touch' && at.from === null) return;
    cross(under(event));
  });
  node.addEventListener('pointerup', (event) => {
    if (!ready()) return;
    const tapped = at.hold !== null, brushed = at.from !== null && Math.abs(event.clientX - at.down) >= LEAST_BRUSH_PX;
    clearTimeout(at.hold); at.hold = null;
    if (brushed) zoom();
    else { at.from = at.down = null; if (tapped) cross(under(event)); else drawMoving(); }
  });
  node.addEventListener('pointercancel', () => { clearTimeout(at.hold); at.hold = null; clear(); });
  node.addEventListener('pointerleave', () => { if (at.from === null && !node.matches(':focus-visible')) clear(); });
  // Once a finger has been held, its way is a selection, and no scrolling.
  node.addEventListener('touchmove', (event) => { if (at.from !== null) event.preventDefault(); }, { passive: false });
  node.addEventListener('dblclick', () => { if (o.onZoomOut) o.onZoomOut(); });
  node.addEventListener('blur', clear);
  node.addEventListener('keydown', (event) => {
    if (event.target !== node || !ready() || event.altKey || event.ctrlKey || event.metaKey) return;
    const last = at.layout.drawn - 1, middle = at.cross ?? Math.floor(last / 2);
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
    if (steps !== undefined) {
      event.preventDefault();
      const from = event.shiftKey ? at.from ?? middle : null;
      cross(Math.max(0, Math.min(last, middle + steps)));
      at.from = from;
      drawMoving();
      said.textContent = spoken();
    } else if (event.key === 'Enter' && selected()) { event.preventDefault(); zoom(); }
    else if (event.key === 'Escape' && at.cross !== null) { event.stopPropagation(); clear(); }
  });

  function spoken() {
    const chosen = selected();
    if (chosen) return `Selected ${tip.textContent}`;
    return `${moment(at.cross)}: ${o.series.map((one) => `${one.label} ${one.values[at.cross] === null ? 'no data' : words(one.values[at.cross])}`).join(', ')}`;
  }

  const later = () => { at.frame = at.frame || requestAnimationFrame(draw); };
  new ResizeObserver(later).observe(node);
  onTheme(node, later);
  node.replaceChildren(ground, shapes, front, tip, said);
  later();
  return { node, options: o, cross: (index) => cross(index, false), update: (part) => { Object.assign(o, part); later(); } };
}

// A canvas does not follow the theme by itself.
const watchers = new Set();
let watching = false;
function onTheme(node, redraw) {
  watchers.add([new WeakRef(node), redraw]);
  if (watching) return;
  watching = true;
  new MutationObserver(() => watchers.forEach((entry) => {
    const alive = entry[0].deref();
    if (!alive) watchers.delete(entry);
    else if (alive.isConnected && alive.querySelector('canvas')) entry[1]();
  })).observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] });
}

