// How a load balancer went: sessions by origin, and the health of each origin, on one axis of time.
import { h, put } from './dom.js';
import { ask, rows } from './analytics/ask.js';
import { outages } from './analytics/outages.js';
import { byGroup, ordered } from './analytics/series.js';
import { bucketFor, bucketTimes, chart, colorist } from './chart/index.js';
import { instant, moment } from './format.js';
import { swatch } from './marks.js';
import { onRange, range, setRange, zoomOut } from './time.js';

const MOST = 6, LANE = 22, LABEL = 46, EVENTS = 500, TOLD = 8;
const BEFORE_S = 86400; // an outage may have begun before the range

const short = (origin) => (origin === null ? 'others' : String(origin).split('/').at(-1));

/** Draw it in `node`, and again with each range of the page until `signal`. Without analytics it says what would be there. */
export function history(node, { name, pools, origins, signal }) {
  const colors = colorist();
  let turn = 0;
  async function draw() {
    const mine = ++turn, { since, until } = range;
    const width = node.clientWidth || 700, bucket = bucketFor(until - since, width - LABEL, 240);
    try {
      const where = [{ dimension: 'load_balancer', op: '=', values: [name] }];
      const [found, health] = await Promise.all([
        ask({ table: 'events', metrics: ['sessions'], dimensions: ['origin'], filter: where, since, until, bucket, limit: MOST, others: true }, signal),
        rows('health', { since: since - BEFORE_S, until, filter: [{ dimension: 'pool', op: 'in', values: pools }], limit: EVENTS }, signal)]);
      if (mine === turn && !signal.aborted) show(found, health, since, until, bucket);
    } catch (error) {
      if (error.name !== 'AbortError' && mine === turn) put(node, h('div', { class: 'sec' }, h('h2', {}, 'How it went')), h('p', { class: 'quiet pad' }, error.status >= 500 || error.status === 404 ? 'With analytics in the file, the sessions and the health of its origins are here.' : error.text));
    }
  }
  function show(found, health, since, until, bucket) {
    const times = bucketTimes(since, until, bucket), groups = byGroup(found.rows, times, true), keys = ordered(groups, 'origin');
    const looks = colors('origin', keys), perMinute = 60 / bucket;
    const series = keys.map((key, i) => ({ key: String(key), label: short(key), ...looks[i], values: groups.get(key).map((one) => one * perMinute) }));
    const down = outages(health, since, until);
    const ofOrigin = (origin) => down.filter((one) => one.text.startsWith(`origin ${origin} `));
    const sessions = chart({ kind: 'area', label: 'New sessions by origin', unit: '/min', height: 200, series, times, bucket, range: [since, until], asOf: found.asOf, notes: down.filter((one) => one.text.startsWith('origin')), onBrush: (part) => setRange({ since: part[0], until: part[1] }), onZoomOut: zoomOut });
    const lane = (origin) => {
      const w = Math.max(100, (node.clientWidth || 700) - LABEL - 12), x = (t) => Math.min(w, Math.max(0, (t - since) / (until - since) * w)), bad = ofOrigin(origin);
      const said = bad.length ? bad.map((one) => `down ${moment(one.t)} to ${one.t2 >= until - 1 ? 'now' : moment(one.t2)}`).join(', ') : 'no outage';
      return [h('div', { class: 'lane-name small', title: origin }, h('bdi', {}, origin)), h('svg', { width: w, height: LANE, viewBox: `0 0 ${w} ${LANE}`, role: 'img', 'aria-label': `${origin}: ${said}` }, h('line', { x1: 0, x2: w, y1: LANE / 2, y2: LANE / 2, stroke: 'var(--control)', 'stroke-width': 2 }), bad.map((one) => h('rect', { x: Math.min(x(one.t), w - 3), y: 3, width: Math.max(3, x(one.t2) - x(one.t)), height: LANE - 6, fill: one.kind === 'failed' ? 'var(--failed)' : 'var(--degraded)', stroke: 'var(--page)' })))];
    };
    const told = health.filter((one) => one.time >= since).slice(0, TOLD);
    put(node, h('div', { class: 'chart-head' }, h('h2', {}, 'New sessions'), series.map((one) => h('span', { class: 'small' }, swatch(one.color), h('bdi', {}, one.label))), !series.length && h('span', { class: 'small quiet' }, 'none in this time')), sessions.node,
      h('div', { class: 'chart-head lanes-head' }, h('h2', {}, 'Health'), h('span', { class: 'small quiet' }, 'by what this node’s probes see')), h('div', { class: 'lanes' }, origins.map(lane)),
      told.length > 0 && h('div', { class: 'sec lanes-head' }, h('h2', {}, 'Events')), told.length > 0 && h('ol', { class: 'steps times' }, told.map((one) => h('li', {}, h('time', { title: instant(one.time) }, moment(one.time)), h('span', {}, h('b', {}, h('bdi', {}, one.origin || one.pool || one.load_balancer)), one.healthy ? ' is up' : ' is down', one.reason ? `: ${one.reason}` : '')))));
  }
  draw();
  return onRange(() => draw());
}
