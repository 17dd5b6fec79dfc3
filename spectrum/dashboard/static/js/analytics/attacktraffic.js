// The traffic at the target of an attack, from sampled packets: what passed and what was kept off, and from where it came.
import { h, put } from '../dom.js';
import { bits, int, seconds, si } from '../format.js';
import { chart, legend } from '../chart/index.js';
import { bucketFor, bucketTimes } from '../chart/scale.js';
import { href } from '../router.js';
import { ask } from './ask.js';
import { toText, withValue } from './filters.js';
import { bySystem } from './systems.js';
import { targetFilters, timeOf } from './target.js';
import { top } from './tops.js';

const KINDS = [['packets', 'Packets', (v) => si(v, 'pps'), 'pps'], ['bits', 'Bits', bits, 'bit/s']];
const TOPS = ['source_country', 'source_asn', 'source_ip', 'source_port', 'length', 'node'];

const iso = (t) => `${new Date(t * 1000).toISOString().slice(0, 19)}Z`;

/** Returns {node, tops, load(attack)}: a chart with its legend, and lists of the largest sources. Both are empty where no packet was sampled. */
export function attackTraffic(go, signal) {
  const node = h('section', { class: 'attack-traffic' }), tops = h('section');
  let kind = KINDS[0], shown = null;

  const analytics = ([since, until], filters) => href('/analytics', { m: 'packets', by: 'verdict', since: iso(since), until: iso(until), f: toText(filters) });

  function draw() {
    const [, , say, unit] = kind, { answer, times, bucket, span, filters, note } = shown, at = kind === KINDS[0] ? 3 : 4;
    const series = bySystem(answer.rows.map((row) => [row[0], row[1], row[2], row[at]]), times, bucket);
    const options = { kind: 'area', label: `${kind[1]} by what became of them`, unit, height: 200, times, bucket, range: [times[0], times.at(-1) + bucket], series, say, notes: [note] };
    const words = legend(options), made = chart({ ...options, onCross: (index) => words.at(index) });
    const choose = h('span', { class: 'seg', role: 'group', 'aria-label': 'What is counted' }, KINDS.map((one) => h('button', { type: 'button', 'aria-pressed': String(one === kind), onclick: () => { kind = one; draw(); node.querySelector('[aria-pressed=true]').focus(); } }, one[1])));
    put(node, h('div', { class: 'sec' }, h('h2', {}, 'Passed and kept off'), h('span', { class: 'small quiet' }, 'at its target, of sampled packets'), h('span', { class: 'end' }, h('a', { href: analytics(span, filters) }, 'In Analytics'), choose)), made.node, words.node);
  }

  async function load(attack) {
    const span = timeOf(attack), filters = targetFilters(attack), bucket = bucketFor(span[1] - span[0], 700), times = bucketTimes(...span, bucket);
    const base = { filter: filters, since: times[0], until: times.at(-1) + bucket };
    try {
      const answer = await ask({ ...base, table: 'packets', metrics: ['packets', 'bits'], dimensions: ['outcome', 'verdict'], bucket, limit: 20 }, signal);
      if (!answer.rows.length) return void put(node, h('p', { class: 'quiet' }, 'No packet to its target was sampled in this time, so there is no chart.'));
      shown = { answer, times, bucket, span, filters, note: { t: seconds(attack.began), t2: attack.ended ? seconds(attack.ended) : undefined, kind: 'mitigated', text: attack.vectors.join(', ') } };
      draw();
      sources(base, span, filters);
    } catch (error) {
      if (error.name !== 'AbortError') put(node); // without analytics there is nothing to draw
    }
  }

  function sources(base, span, filters) {
    if (tops.childElementCount) return;
    const dropped = [...filters, { dimension: 'outcome', op: '=', values: ['drop'] }];
    const pick = (key, value, exclude) => go(analytics(span, withValue(dropped, key, value, exclude)));
    const lists = TOPS.map((key) => top({ table: 'packets', key, pick, hover: () => {} }));
    put(tops, h('div', { class: 'sec' }, h('h2', {}, 'What was kept off'), h('span', { class: 'small quiet' }, 'packets, of samples')), h('div', { class: 'tops thirds' }, lists.map((one) => one.node)));
    for (const one of lists) one.load({ metric: { name: 'packets', key: 'packets', additive: true, color: 'mitigated' }, base: { ...base, filter: dropped }, say: int }, signal);
  }

  return { node, tops, load };
}
