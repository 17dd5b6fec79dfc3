// Load balancers, pools, monitors and groups: what is ill first, and why.
import { h, put } from '../dom.js';
import { capital, count, dur, int, ms } from '../format.js';
import { mark } from '../marks.js';
import { objects } from '../editor.js';
import { linkTo } from '../links.js';
import { mayNot, parts, unseen } from '../parts.js';
import { addressOf, kindOf, poolState, state, UNKNOWN } from '../pools.js';
import { go, href } from '../router.js';
import { blank } from '../states.js';
import { table } from '../table.js';
import { balancerTrouble } from './apps.js';

const EVERY_MS = 2000;
const RANK = { failed: 0, degraded: 1, ok: 2, idle: 3 };
const ORDER = { '': 'in order', off: 'in order', geo: 'by place', random: 'random', dynamic_latency: 'by latency', proximity: 'by distance', least_outstanding_requests: 'fewest waiting', least_connections: 'fewest sessions' };

const linked = (section, all, name) => { const one = all.find((each) => each.key === name); return one ? h('a', { href: linkTo(section, one.id) }, h('bdi', {}, one.name)) : h('bdi', {}, name); };
const target = (value) => (['http', 'https'].includes(value.type ?? 'http') ? `${value.type ?? 'http'} ${value.method ?? 'GET'} ${value.path ?? '/'}` : `${value.type}${value.port ? ` port ${value.port}` : ''}${value.expect ? `, expects “${value.expect}”` : ''}`);

export default async function balancing({ signal }) {
  const { hidden, balancers = [], pools = [], monitors = [], groups = [], first = UNKNOWN } = await parts({ balancers: objects('load_balancers'), pools: objects('pools'), monitors: objects('monitors'), groups: objects('monitor_groups'), first: state(signal) });
  const h1 = h('h1'), lede = h('p', { class: 'lede', role: 'status' });
  let now = first, timer = 0;
  const live = (name) => now.pools.find((one) => one.name === name);

  const balancerRows = () => balancers.map((one) => { const trouble = balancerTrouble(now, one.key); return { ...one, state: one.value.enabled === false || hidden.has('first') ? 'idle' : trouble?.state || 'ok', note: trouble?.note || '', pools: [].concat(one.value.default_pools), sessions: [].concat(one.value.default_pools).reduce((sum, name) => sum + (live(name)?.sessions || 0), 0) }; });
  const poolRows = () => pools.map((one) => { const told = live(one.key); const kind = told ? (told.health === 'unknown' && !told.monitor ? 'ok' : kindOf(told.health)) : 'idle'; return { ...one, state: kind, note: kind === 'degraded' || kind === 'failed' ? poolState(told) : '', up: told?.origins_up ?? 0, origins: told?.origins.length ?? one.value.origins.length, sessions: told?.sessions ?? 0, monitor: one.value.monitor, rtt: told?.rtt_ms ?? null }; });
  const stateColumn = { key: 'state', label: '', title: 'State', rank: 1, width: '36px', sort: false, render: (row) => mark(row.state, row.state === 'ok' ? null : row.state) };
  const named = (section) => ({ key: 'name', label: 'Name', rank: 1, width: '26%', href: (row) => linkTo(section, row.id), render: (row) => [h('b', {}, h('bdi', {}, row.name)), row.note && h('span', { class: `small t-${row.state}` }, `  ${row.note}`), !row.note && row.in_file && h('span', { class: 'small quiet' }, '  in the file')] });
  const sessions = { key: 'sessions', label: 'Sessions', align: 'num', rank: 1, width: '96px', render: (row) => (row.sessions ? int(row.sessions) : h('span', { class: 'quiet' }, hidden.has('first') ? '–' : '0')) };

  const balancerTable = table({
    label: 'Load balancers', rows: balancerRows(), first: (row) => RANK[row.state], onOpen: (row) => go(`/balancing/${row.id}`),
    columns: [stateColumn, named('load_balancers'), { key: 'pools', label: 'Pools, in order', rank: 2, sort: false, render: (row) => row.pools.map((name, i) => [i ? ', ' : '', linked('pools', pools, name)]) },
      { key: 'steering', label: 'Steering', rank: 3, width: '140px', value: (row) => row.value.steering_policy || '', render: (row) => h('span', { class: 'soft' }, ORDER[row.value.steering_policy || ''] || row.value.steering_policy) }, sessions],
    empty: blank('No load balancer yet', 'A load balancer sends the sessions of an app to pools of origins, in order or by share, and around those that are down.', h('a', { class: 'btn primary', href: '#/balancing/new/edit' }, 'Add a load balancer')),
  });
  const poolTable = table({
    label: 'Pools', rows: poolRows(), first: (row) => RANK[row.state], onOpen: (row) => go(`/balancing/pools/${row.id}`),
    columns: [stateColumn, named('pools'), { key: 'up', label: 'Origins up', align: 'num', rank: 1, width: '84px', render: (row) => `${row.up} of ${row.origins}` },
      { key: 'monitor', label: 'Monitor', rank: 3, value: (row) => row.monitor || '', render: (row) => (row.monitor ? linked('monitors', monitors, row.monitor) : h('span', { class: 'quiet' }, 'none')) },
      { key: 'rtt', label: 'Probe RTT', align: 'num', rank: 3, width: '104px', render: (row) => (row.rtt ? ms(row.rtt * 1e6) : h('span', { class: 'quiet' }, 'none')) }, sessions],
    empty: blank('No pool yet', 'A pool is a set of origins that serve the same.', h('a', { class: 'btn primary', href: '#/balancing/pools/new' }, 'Add a pool')),
  });
  const monitorTable = table({
    label: 'Monitors', onOpen: (row) => go(`/balancing/monitors/${row.id}`),
    rows: monitors.map((one) => ({ ...one, state: 'ok', pools: pools.filter((pool) => pool.value.monitor === one.key) })),
    columns: [{ key: 'name', label: 'Name', rank: 1, width: '26%', href: (row) => href(`/balancing/monitors/${row.id}`), render: (row) => [h('b', {}, h('bdi', {}, row.name)), row.in_file && h('span', { class: 'small quiet' }, '  in the file')] },
      { key: 'what', label: 'Asks', rank: 1, value: (row) => target(row.value), render: (row) => h('span', { class: 'soft' }, target(row.value)) },
      { key: 'interval', label: 'Every', align: 'num', rank: 3, width: '88px', sort: false, render: (row) => (typeof (row.value.interval ?? 60) === 'number' ? dur(row.value.interval ?? 60) : row.value.interval) },
      { key: 'pools', label: 'Pools', rank: 2, sort: false, render: (row) => (row.pools.length ? row.pools.map((pool, i) => [i ? ', ' : '', linked('pools', pools, pool.key)]) : h('span', { class: 'quiet' }, hidden.has('pools') ? 'not shown' : 'none')) }],
    empty: blank('No monitor yet', 'A monitor says how origins are probed, and how many results make a verdict. Without one, a pool’s origins count as up.', h('a', { class: 'btn primary', href: '#/balancing/monitors/new' }, 'Add a monitor')),
  });
  const groupTable = groups.length > 0 && table({
    label: 'Monitor groups', rows: groups, onOpen: (row) => go(`/balancing/groups/${row.id}`),
    columns: [{ key: 'name', label: 'Name', rank: 1, width: '26%', href: (row) => href(`/balancing/groups/${row.id}`), render: (row) => h('b', {}, h('bdi', {}, row.value.description || row.name)) },
      { key: 'members', label: 'Monitors', rank: 1, sort: false, render: (row) => row.value.members.map((one, i) => [i ? ', ' : '', linked('monitors', monitors, one.monitor)]) }],
  });

  function tell() {
    const ill = balancerRows().filter((one) => one.note).sort((a, b) => RANK[a.state] - RANK[b.state])[0];
    const down = now.pools.flatMap((pool) => pool.origins.filter((one) => ['down', 'ejected'].includes(one.health)).map((one) => ({ ...one, pool })));
    const title = ill ? [h('a', { class: 'plain', href: `#/balancing/${ill.id}` }, ill.name), ` ${ill.state === 'failed' ? 'is down' : 'is degraded'}: ${ill.note}${/origins$/.test(ill.note) ? ' are up' : ''}`] : down.length ? `${capital(count(down.length, 'origin'))} ${down.length === 1 ? 'is' : 'are'} down` : 'Load balancing';
    const why = down.length ? [down.slice(0, 3).map((one, i) => [i ? '; ' : '', h('b', {}, h('bdi', {}, one.name)), ` of ${one.pool.name} (${addressOf(one)}): ${one.reason || one.health}${one.changed_s_ago != null ? ` for ${dur(one.changed_s_ago)}` : ''}`]), down.length > 3 ? ` and ${down.length - 3} more.` : '.'] : hidden.has('first') ? mayNot('pools, so nothing is known here of their health') : balancers.length ? `${capital(count(balancers.length, 'load balancer'))} and ${count(pools.length, 'pool')}, all well.` : 'It sends sessions to those origins that are up, and fails over to others.';
    const text = JSON.stringify([ill?.id, ill?.note, down.map((one) => [one.name, one.reason, one.changed_s_ago > 120 ? Math.round(one.changed_s_ago / 60) : one.changed_s_ago])]);
    if (h1.dataset.said === text) return;
    h1.dataset.said = text;
    put(h1, title);
    put(lede, why);
  }
  async function look() {
    clearTimeout(timer);
    if (signal.aborted) return;
    if (!document.hidden) {
      try {
        now = await state(signal);
        balancerTable.setRows(balancerRows());
        poolTable.setRows(poolRows());
        tell();
      } catch (error) {
        if (error.name === 'AbortError') return;
      }
    }
    timer = setTimeout(look, EVERY_MS);
  }
  tell();
  if (!hidden.has('first')) timer = setTimeout(look, EVERY_MS);
  const section = (name, title, node, add, label) => h('section', {}, h('div', { class: 'sec' }, h('h2', { class: 'grow' }, title), !hidden.has(name) && h('a', { class: 'btn', href: add }, label)), hidden.has(name) ? unseen(title.toLowerCase()) : node);
  return {
    title: 'Load balancing',
    onLeave: () => clearTimeout(timer),
    node: [h('div', {}, h1, lede), section('balancers', 'Load balancers', balancerTable.node, '#/balancing/new/edit', 'Add a load balancer'), section('pools', 'Pools', poolTable.node, '#/balancing/pools/new', 'Add a pool'), section('monitors', 'Monitors', monitorTable.node, '#/balancing/monitors/new', 'Add a monitor'), section('groups', 'Monitor groups', groupTable?.node || h('p', { class: 'quiet pad' }, 'None. A group has several monitors decide on the origins of a pool.'), '#/balancing/groups/new', 'Add a group')],
  };
}
