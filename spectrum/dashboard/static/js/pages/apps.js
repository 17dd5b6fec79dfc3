// All apps: trouble first, then as one likes; figures of the last seconds.
import { h, put } from '../dom.js';
import { api } from '../api.js';
import { bits, capital, count, instant, ago, int, pct } from '../format.js';
import { mark } from '../marks.js';
import { yaml } from '../diff.js';
import { mayNot } from '../parts.js';
import { state } from '../pools.js';
import { presets } from '../presets.js';
import { copy, objects } from '../editor.js';
import { dialog } from '../overlay.js';
import { go, href } from '../router.js';
import { blank, button } from '../states.js';
import { table } from '../table.js';

const EVERY_MS = 2000;
// An app whose sessions fail: so many within a look, and that part of what began.
const FAILING_LEAST = 3, FAILING_SHARE = 0.05;
const RANK = { failed: 0, degraded: 1, ok: 2, idle: 3 };

function originOf(value) {
  if (value.load_balancer) return `load balancer ${value.load_balancer}`;
  if (value.origin_dns) return `${value.origin_dns.name}${value.origin_port ? `:${value.origin_port}` : ''}`;
  const all = [].concat(value.origin_direct || []).map((one) => String(one).replace(/^\w+:\/\//, ''));
  return all.length > 1 ? `${all[0]} and ${all.length - 1} more` : all[0] || '';
}
const whole = (value) => (value.origin_direct ? [].concat(value.origin_direct).join(' ') : originOf(value));

/** What is wrong with a load balancer's pools, as an app that leads there sees it. */
export function balancerTrouble(state, name) {
  const balancer = state?.load_balancers.find((one) => one.name === name);
  if (!balancer) return null;
  if (!balancer.enabled) return { state: 'failed', note: `load balancer ${name} is disabled` };
  const pools = balancer.pools.map((one) => state.pools.find((pool) => pool.name === one)).filter(Boolean);
  const good = pools.filter((pool) => ['healthy', 'degraded'].includes(pool.health));
  if (pools.length && !good.length && pools.every((pool) => pool.health !== 'unknown')) {
    const fallback = state.pools.find((pool) => pool.name === balancer.fallback_pool);
    const serves = fallback && fallback.origins_up > 0;
    return { state: serves ? 'degraded' : 'failed', note: serves ? `fallback pool ${fallback.name} serves` : 'no origin is up' };
  }
  const ill = pools.find((pool) => ['degraded', 'critical'].includes(pool.health));
  return ill ? { state: 'degraded', note: `${ill.origins_up} of ${ill.origins.length} origins` } : null;
}

export default async function apps({ query, setQuery, signal }) {
  const [found, presetsKnown] = await Promise.all([objects('apps'), presets().catch(() => [])]);
  const ports = new Map(presetsKnown.map((one) => [one.name, one.protocol]));
  const rows = found.map((one) => ({ ...one, protocol: one.value.protocol || ports.get(one.value.preset) || '', origin: originOf(one.value), sessions: 0, in: 0, out: 0, failed: 0, state: 'ok', note: '' }));
  const byId = new Map(rows.map((row) => [row.id, row]));
  let before = null, timer = 0, balancing = null, isHidden = false;

  const lede = h('p', { class: 'lede', role: 'status' });
  const list = table({
    label: 'Apps',
    rows,
    first: (row) => RANK[row.state] ?? 2,
    order: { key: 'sessions', down: true },
    onOpen: (row) => go(`/apps/${row.id}`),
    columns: [
      { key: 'state', label: '', title: 'State', rank: 1, width: '36px', sort: false, render: (row) => mark(row.state, row.state === 'ok' ? null : row.state) },
      { key: 'name', label: 'App', rank: 1, width: '26%', href: (row) => href(`/apps/${row.id}`), render: (row) => [h('b', { title: row.name }, h('bdi', {}, row.name)), row.note && h('span', { class: `small ${['ok', 'idle'].includes(row.state) ? 'quiet' : `t-${row.state}`}` }, `  ${row.note}`), row.in_file && !row.note && h('span', { class: 'small quiet' }, '  in the file')] },
      { key: 'protocol', label: 'Listens on', rank: 3, width: '130px', value: (row) => row.protocol, render: (row) => h('span', { class: 'soft' }, row.protocol) },
      { key: 'origin', label: 'Origin', rank: 4, render: (row) => h('span', { class: 'soft', title: whole(row.value) }, h('bdi', {}, row.origin)) },
      { key: 'sessions', label: 'Sessions', align: 'num', rank: 1, width: '92px', render: (row) => quiet(row.sessions, int(row.sessions)) },
      { key: 'in', label: 'From clients', align: 'num', rank: 3, width: '112px', render: (row) => quiet(row.in, bits(row.in)) },
      { key: 'out', label: 'To clients', align: 'num', rank: 3, width: '112px', render: (row) => quiet(row.out, bits(row.out)) },
      { key: 'failed', label: 'Failed', align: 'num', rank: 2, width: '80px', title: 'Of the sessions since the daemon began', render: (row) => (row.failed > 0.0005 ? h('span', { class: row.failed > FAILING_SHARE ? 't-failed' : '' }, pct(row.failed)) : quiet(0, pct(row.failed))) },
      { key: 'modified_on', label: 'Changed', align: 'num', rank: 4, width: '96px', render: (row) => h('span', { class: 'quiet', title: instant(row.modified_on) }, ago(row.modified_on)) },
    ],
    filter: {
      placeholder: 'Filter by name, port, origin',
      value: query.q || '',
      text: (row) => `${row.name} ${row.key} ${row.protocol} ${whole(row.value)}`,
      parts: [
        { label: 'All' },
        { label: 'Trouble', test: (row) => row.state === 'degraded' || row.state === 'failed' },
        { label: 'Paused', test: (row) => row.state === 'idle' },
        { label: 'TCP', test: (row) => row.protocol.startsWith('tcp'), counted: false },
        { label: 'UDP', test: (row) => row.protocol.startsWith('udp'), counted: false },
        { label: 'In the file', test: (row) => row.in_file },
      ],
      onChange: (text) => setQuery({ q: text }),
    },
    empty: blank('No app yet', 'An app listens on a port and sends what comes to an origin. With a preset it takes a minute.', h('a', { class: 'btn primary', href: '#/apps/new' }, 'Add an app')),
  });

  async function look() {
    clearTimeout(timer);
    if (signal.aborted) return;
    if (!document.hidden) {
      try {
        const [figures, now] = await Promise.all([api.get('/accounts/{account}/spectrum/figures', null, { signal }), state(signal).catch((error) => { isHidden = error.status === 403; return null; })]);
        balancing = now;
        take(figures);
      } catch (error) {
        if (error.name === 'AbortError') return;
      }
    }
    timer = setTimeout(look, EVERY_MS);
  }

  function take(figures) {
    const at = Object.fromEntries(figures.keys.map((name, i) => [name, i]));
    const passed = before ? figures.at - before.at : 0;
    for (const [id, one] of Object.entries(figures.apps)) {
      const row = byId.get(id);
      if (!row) continue;
      const then = before?.apps[id];
      row.sessions = one[at.sessions];
      const all = one[at.started] + one[at.refused];
      row.failed = all ? one[at.failed] / all : 0;
      if (then && passed > 0) {
        row.in = Math.max(0, one[at.bytes_from_client] - then[at.bytes_from_client]) * 8 / passed;
        row.out = Math.max(0, one[at.bytes_from_origin] - then[at.bytes_from_origin]) * 8 / passed;
        const failed = one[at.failed] - then[at.failed], began = one[at.started] - then[at.started];
        row.failing = failed >= FAILING_LEAST && failed > FAILING_SHARE * began ? Date.now() : row.failing;
      }
    }
    const paused = new Set(figures.paused);
    for (const row of rows) {
      const trouble = row.value.load_balancer ? balancerTrouble(balancing, row.value.load_balancer) : null;
      const failing = row.failing && Date.now() - row.failing < 60000;
      const isPaused = paused.has(row.id);
      row.state = isPaused ? 'idle' : trouble?.state || (failing ? 'degraded' : 'ok');
      row.note = isPaused ? 'paused' : trouble?.note || (failing ? 'sessions fail' : '');
    }
    before = figures;
    list.setRows(rows);
    tell();
  }

  function tell() {
    const failed = rows.filter((row) => row.state === 'failed').length, degraded = rows.filter((row) => row.state === 'degraded').length;
    const text = !rows.length ? 'There is none yet.' : failed ? `${capital(count(failed, 'app'))} ${failed === 1 ? 'has' : 'have'} no origin that is up${degraded ? `, ${count(degraded, 'more', 'more')} need${degraded === 1 ? 's' : ''} attention` : ''}.`
      : degraded ? `${capital(count(degraded, 'app'))} need${degraded === 1 ? 's' : ''} attention. ${degraded === 1 ? 'It is' : degraded === 2 ? 'Both are' : 'All are'} serving.` : !before ? '' : isHidden ? mayNot('pools, so nothing is known here of origins behind load balancers') : 'All are well.';
    if (lede.textContent !== text) put(lede, text);
  }

  tell();
  look();
  const exported = () => { const text = yaml({ apps: Object.fromEntries(list.rows.map((row) => [row.key, row.value])) }); return dialog({ title: `YAML of ${count(list.rows.length, 'app')}`, wide: true, body: h('pre', { class: 'diff text', tabindex: 0 }, text.slice(0, 200000)), actions: [{ label: 'Copy', kind: 'primary', run: () => { copy(text, 'The YAML'); return false; } }, { label: 'Close' }] }); };
  return {
    title: 'Apps',
    node: [
      h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, 'Apps'), lede), h('div', { class: 'acts' }, rows.length > 0 && button('Export YAML', exported), h('a', { class: 'btn primary', href: '#/apps/new' }, 'Add an app'))),
      h('section', { class: 'tight' }, list.node),
    ],
    onLeave: () => clearTimeout(timer),
  };
}

const quiet = (value, text) => (value ? text : h('span', { class: 'quiet' }, text));
