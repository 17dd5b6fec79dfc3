// The day strip: one day on one axis, with traffic, outages, attacks and changes. Its window is the time range of the page.

import { h, put } from './dom.js';
import { bucketFor, bucketTimes, momentLabel, timeAxis, timeLabel } from './chart/scale.js';
import { measure } from './chart/series.js';
import { svg } from './chart/surface.js';
import { zoneOffset } from './chart/zone.js';
import { dur, zone } from './format.js';
import { mark, onRange, presets, range, setRange, zoomOut } from './time.js';
import { ask } from './analytics/ask.js';
import { annotations } from './analytics/notes.js';

const DAY = 86400;
const BUCKET_S = 600;
const REFRESH_MS = 60_000;
const HEIGHT = 56;
const TOP = 2;
const BASE = 32;
const LEAST_S = 60;
const STEP_S = 300;
const ENDS_NOW_PX = 4;
const NEARLY = 1.25; // a range of nearly a day says which days they are

let only = null;

/** The day strip with the buttons of usual ranges, one for all pages. It asks for its data by itself, each minute while it is in the page. */
export function strip() {
  only ??= made();
  return only;
}

function made() {
  const picture = svg('svg', { height: HEIGHT, role: 'group', 'aria-label': 'The last 24 hours. Two handles set the time range of this page.' });
  const side = h('div', { class: 'range' });
  const node = h('section', { class: 'strip', 'aria-label': 'Time range' }, h('div', { class: 'strip-day' }, picture), side);
  const at = { values: [], times: [], notes: [], bucket: BUCKET_S, shown: [0, 0], from: null, moved: false, frame: 0, asked: false };
  const day = () => [range.strip.since, range.strip.until];
  const later = () => { at.frame = at.frame || requestAnimationFrame(() => { at.frame = 0; draw(); }); };

  async function load() {
    at.asked = true;
    const [since, until] = at.shown = day();
    const bucket = Math.max(BUCKET_S, bucketFor(until - since, 1200));
    const asked = { table: 'events', metrics: ['bytesIngress', 'bytesEgress'], dimensions: [], since, until, bucket };
    const [traffic, notes] = await Promise.allSettled([ask(asked), annotations(since, until)]);
    if (traffic.status === 'fulfilled') {
      const sums = new Map(traffic.value.rows.map(([t, up, down]) => [t, up + down]));
      at.times = bucketTimes(since, until, bucket);
      at.values = at.times.map((t) => sums.get(t) ?? 0);
      at.bucket = bucket;
    }
    if (notes.status === 'fulfilled') at.notes = notes.value;
    later();
  }

  function draw() {
    const width = Math.floor(picture.parentNode.clientWidth);
    if (!width) return;
    const [start, end] = day(), x = (t) => (t - start) / (end - start) * width;
    picture.setAttribute('width', width); picture.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    const whole = range.since <= start + 1 && range.until >= end - 1;
    // The day has become longer or shorter than what was asked for.
    if (at.asked && Math.abs(start - at.shown[0]) > DAY / 4) load();
    const nodes = traffic(x, whole, width);
    for (const one of at.notes) nodes.push(...note(one, x, width));
    nodes.push(svg('line', { x1: 0, x2: width, y1: BASE + 0.5, y2: BASE + 0.5, stroke: 'var(--line-strong)' }));
    const axis = timeAxis(start, end, width, { gap: 76, offset: zoneOffset() });
    for (const t of axis.ticks) {
      const px = x(t);
      nodes.push(svg('text', { x: px, y: 54, 'font-size': 11, fill: 'var(--ink-3)', 'text-anchor': px < 20 ? 'start' : px > width - 20 ? 'end' : 'middle' }, timeLabel(t, axis.step, zoneOffset())));
    }
    nodes.push(handle(0, x, width, whole, start, end), handle(1, x, width, whole, start, end));
    const focused = [...picture.querySelectorAll('[role=slider]')].indexOf(document.activeElement);
    picture.replaceChildren(...nodes);
    if (focused >= 0) picture.querySelectorAll('[role=slider]')[focused].focus();
    drawSide();
  }

  function traffic(x, whole, width) {
    const peak = measure(at.values).peak;
    if (!peak) return [];
    const points = at.times.map((t, i) => [Math.max(0, Math.min(width, x(t + at.bucket / 2))), BASE - at.values[i] / peak * (BASE - TOP)]);
    const outline = (some, from, to) => `M${from.toFixed(1)} ${BASE}${some.map(([px, py]) => `L${px.toFixed(1)} ${py.toFixed(1)}`).join('')}L${to.toFixed(1)} ${BASE}z`;
    const nodes = [svg('path', { d: outline(points, points[0][0], points.at(-1)[0]), fill: 'var(--line)' })];
    const [a, b] = [Math.max(0, x(range.since)), Math.min(width, x(range.until))];
    const inside = points.filter(([px]) => px >= a && px <= b);
    if (!whole && inside.length) nodes.push(svg('path', { d: outline(inside, inside[0][0], inside.at(-1)[0]), fill: 'var(--line-strong)' }));
    return nodes;
  }

  // Outages hang from the line, what was kept out below them, changes stand on it.
  function note(one, x, width) {
    if (one.kind === 'change') return [svg('path', { d: `M${x(one.t)} ${BASE - 6}l3.5 6h-7z`, fill: 'var(--ink-2)' }, svg('title', {}, one.text))];
    if (one.kind === 'gap') return [];
    const place = { x: Math.min(x(one.t), width - 3), y: BASE + (one.kind === 'mitigated' ? 6 : 1), width: Math.max(3, x(one.t2 ?? one.t) - x(one.t)), height: 4, fill: `var(--${one.kind})` };
    return [svg('rect', place, svg('title', {}, one.text))];
  }

  function handle(i, x, width, whole, start, end) {
    const t = i ? range.until : range.since, px = Math.min(width - 3, Math.max(0, x(t) - 1.5));
    return svg('g', { role: 'slider', tabindex: 0, class: 'handle', 'aria-label': i ? 'End of the range' : 'Start of the range', 'aria-orientation': 'horizontal',
      'aria-valuemin': Math.round(start), 'aria-valuemax': Math.round(end), 'aria-valuenow': Math.round(t), 'aria-valuetext': momentLabel(t, 2 * DAY, 1, zoneOffset()),
      onkeydown: (event) => moved(event, i, start, end) },
    svg('rect', { x: px - 10, y: 0, width: 24, height: HEIGHT - 12, fill: 'transparent' }),
    svg('rect', { x: px, y: 1, width: 3, height: BASE + 10, rx: 1.5, fill: whole ? 'var(--control)' : 'var(--ink)' }));
  }

  function moved(event, i, start, end) {
    const step = { ArrowLeft: -STEP_S, ArrowDown: -STEP_S, ArrowRight: STEP_S, ArrowUp: STEP_S, PageUp: 3600, PageDown: -3600, Home: -Infinity, End: Infinity }[event.key];
    if (!step) return;
    event.preventDefault();
    const ends = [range.since, range.until];
    const to = ends[i] + (event.shiftKey ? step * 12 : step);
    ends[i] = i ? Math.min(end, Math.max(ends[0] + LEAST_S, to)) : Math.max(start, Math.min(ends[1] - LEAST_S, to));
    choose(ends);
  }

  // A range that ends now goes on with the time.
  function choose([since, until], keep = true) {
    const [start, end] = day();
    const now = end - until <= (end - start) / picture.clientWidth * ENDS_NOW_PX;
    setRange(now ? { last: Math.round(end - since) } : { since: Math.round(since), until: Math.round(until) }, { keep });
  }

  function drawSide() {
    const length = Math.round(range.length), full = `${momentLabel(range.since, 2 * DAY, 1, zoneOffset())} – ${momentLabel(range.until, 2 * DAY, 1, zoneOffset())}`;
    const words = range.isLive ? `Last ${presets.find((one) => one.last === length)?.label.replace(' ', '\u00a0') ?? dur(length)}, ${zone()}`
      : `${momentLabel(range.since, length * NEARLY, 1, zoneOffset())} – ${momentLabel(range.until, length * NEARLY, 1, zoneOffset())} ${zone()}`;
    put(side, h('span', { class: 'small soft', title: full }, words),
      h('div', { class: 'seg', role: 'group', 'aria-label': 'Usual ranges' }, presets.map(({ label, last }) => h('button', { type: 'button',
        'aria-pressed': String(range.isLive && length === last), onclick: () => setRange({ last }) }, label))));
  }

  const instant = (event) => {
    const box = picture.getBoundingClientRect(), [start, end] = day();
    return Math.max(start, Math.min(end, start + (event.clientX - box.left) / box.width * (end - start)));
  };
  picture.addEventListener('pointerdown', (event) => {
    if (event.button) return;
    const [start, end] = day(), near = (end - start) * 10 / picture.clientWidth, t = instant(event);
    at.from = Math.abs(t - range.since) < near ? range.until : Math.abs(t - range.until) < near ? range.since : t;
    at.moved = false;
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener('pointermove', (event) => {
    if (at.from === null) return;
    const t = instant(event);
    if (Math.abs(t - at.from) < LEAST_S) return;
    if (!at.moved) mark();
    at.moved = true;
    choose([Math.min(t, at.from), Math.max(t, at.from)]);
  });
  for (const kind of ['pointerup', 'pointercancel']) picture.addEventListener(kind, () => { at.from = null; });
  picture.addEventListener('dblclick', () => zoomOut());

  new ResizeObserver(later).observe(node);
  onRange(later);
  load();
  setInterval(() => { if (node.isConnected && !document.hidden) load(); }, REFRESH_MS);
  return node;
}
