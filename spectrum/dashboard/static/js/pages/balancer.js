// One load balancer: the cause first, its pools in order of failover, and what can be done about an origin.
import { h, put } from '../dom.js';
import { api } from '../api.js';
import { capital, count, dur, moment } from '../format.js';
import { mark } from '../marks.js';
import { deleting, editor, objects, objectsWith } from '../editor.js';
import { history } from '../history.js';
import { dialog } from '../overlay.js';
import { mayNot, parts } from '../parts.js';
import { addressOf, kindOf, noticing, ORIGIN_HEADS, originRows, poolState, seconds, state, UNKNOWN } from '../pools.js';
import { go, open as reopen } from '../router.js';
import { button } from '../states.js';
import { strip } from '../strip.js';
import { balancerTrouble } from './apps.js';

const EVERY_MS = 2000;
const BACK = [['Load balancing', '#/balancing']];
const path = (id) => `/accounts/{account}/load_balancers/${id}`;

export default async function balancer(ctx) {
  return ctx.path.endsWith('/edit') ? edit(ctx) : show(ctx);
}

async function show({ params, signal }) {
  const found = objects('load_balancers', params.id);
  const [one, { hidden, pools = [], monitors = [], users = [], first = UNKNOWN }] = await Promise.all([found, parts({ pools: objects('pools'), monitors: objects('monitors'), users: found.then(({ key }) => objectsWith('apps', 'load_balancer', key)), first: state(signal) })]);
  const value = one.value;
  const order = [...new Set([...[].concat(value.default_pools), value.fallback_pool].filter(Boolean))];
  const h1 = h('h1'), lede = h('p', { class: 'lede' });
  const body = h('tbody');
  let timer = 0, now = first, off = () => {};

  function headOf(name, i, pool) {
    const known = pools.find((each) => each.key === name), monitor = monitors.find((each) => each.key === known?.value.monitor);
    const kind = pool ? kindOf(pool.health) : 'idle', isFallback = (value.fallback_pool || order.at(-1)) === name;
    const serving = now.pools.find((each) => order.includes(each.name) && ['healthy', 'degraded'].includes(each.health));
    const role = pool && serving?.name === name ? 'takes the sessions' : i === 0 ? '' : isFallback ? 'next, and fallback' : 'next';
    return h('tr', {}, h('th', { colspan: ORIGIN_HEADS.length, scope: 'rowgroup', class: 'poolrow' }, h('div', { class: 'poolhead' }, h('span', { class: 'quiet' }, String(i + 1)), h('b', {}, known ? h('a', { class: 'plain', href: `#/balancing/pools/${known.id}` }, h('bdi', {}, known.name)) : name),
      h('span', { class: `st ${kind}` }, mark(kind), pool ? poolState(pool) : hidden.has('first') ? 'not shown' : 'not known'), role && h('span', { class: 'soft' }, role), h('span', { class: 'grow' }),
      pool && h('span', {}, `${pool.origins_up} of ${pool.origins.length} origins up, at least ${pool.minimum_origins} needed`), h('span', { class: 'hide-s' }, `steering ${(known?.value.origin_steering?.policy || 'random').replaceAll('_', ' ')}`),
      monitor && h('span', { class: 'hide-s' }, 'monitor ', h('a', { href: `#/balancing/monitors/${monitor.id}` }, `${monitor.name}, every ${dur(seconds(monitor.value.interval ?? 60))}`)))));
  }
  function draw() {
    if (body.querySelector('.confirm')) return;
    const focused = document.activeElement?.closest('tr')?.dataset.origin;
    put(body, order.map((name, i) => { const pool = now.pools.find((each) => each.name === name); return [headOf(name, i, pool), pool ? originRows(pool, { done: look }) : []]; }));
    if (focused) [...body.querySelectorAll('tr')].find((tr) => tr.dataset.origin === focused)?.querySelector('button')?.focus();
    tell();
  }
  function tell() {
    const trouble = balancerTrouble(now, one.key);
    const ill = order.map((name) => now.pools.find((each) => each.name === name)).filter(Boolean).flatMap((pool) => pool.origins.filter((origin) => ['down', 'ejected'].includes(origin.health)).map((origin) => ({ pool, origin })))[0];
    const title = !trouble ? one.name : ill ? [h('bdi', {}, one.name), ` is ${trouble.state === 'failed' ? 'down' : 'degraded'}: `, h('span', { class: 'nowrap' }, h('bdi', {}, ill.origin.name)), ill.origin.health === 'ejected' ? ' fails clients' : ' does not answer'] : [h('bdi', {}, one.name), `: ${trouble.note}`];
    const monitor = ill && monitors.find((each) => each.key === ill.pool.monitor);
    const why = [];
    if (ill) {
      if (ill.origin.changed_s_ago != null) why.push(`Since ${moment(Date.now() / 1000 - ill.origin.changed_s_ago)} `, ill.origin.health === 'ejected' ? 'clients have failed there: ' : 'its probes have failed: ');
      why.push(h('span', { class: 'mono' }, ill.origin.reason || ill.origin.health), ` on ${addressOf(ill.origin)}. `);
      if (monitor) why.push(`It takes up to ${dur(noticing(monitor.value))} to notice, because monitor ${monitor.name} asks every ${dur(seconds(monitor.value.interval ?? 60))} and wants ${count(Math.max(1, monitor.value.consecutive_down ?? 0), 'failure')}`, noticing(monitor.value) > 20 ? `; with 5 s it would be ${dur(noticing({ ...monitor.value, interval: 5 }))}.` : '.');
    } else if (hidden.has('first')) why.push(mayNot('pools, so nothing is known here of their health'));
    else why.push(`${capital(count(order.length, 'pool'))}, ${count(order.reduce((sum, name) => sum + (now.pools.find((each) => each.name === name)?.origins_up || 0), 0), 'origin')} up.`);
    const text = why.map((part) => part.textContent ?? part).join('');
    if (lede.dataset.said === text) return;
    lede.dataset.said = text;
    put(h1, title);
    put(lede, why);
  }
  async function look() {
    clearTimeout(timer);
    if (signal.aborted) return;
    if (!document.hidden) {
      try { now = await state(signal); draw(); } catch (error) { if (error.name === 'AbortError') return; }
    }
    timer = setTimeout(look, EVERY_MS);
  }
  draw();
  if (!hidden.has('first')) timer = setTimeout(look, EVERY_MS);

  const facts = [
    ['Apps', users.length ? users.slice(0, 5).map((app, i) => [i ? ', ' : '', h('a', { href: `#/apps/${app.id}` }, app.name)]).concat(users.length > 5 ? ` and ${users.length - 5} more` : '') : hidden.has('users') ? mayNot('apps') : 'none'],
    ['Affinity', value.session_affinity && value.session_affinity !== 'none' ? `client address${value.session_affinity === 'ip_port' ? ' and port' : ''}, for ${dur(seconds(value.session_affinity_ttl ?? 1800))}` : 'none'],
    ['Failover', value.adaptive_routing?.failover_across_pools ? 'across pools' : 'within a pool'],
    ['Drain time', value.session_affinity_attributes?.drain_duration != null ? dur(seconds(value.session_affinity_attributes.drain_duration)) : 'until sessions end'],
    ['Stands in', one.in_file ? `${one.path || 'the file'}${one.line ? `, line ${one.line}` : ''}` : 'the store, made by the API'],
  ];
  const lanes = h('section', { class: 'hist' });
  const names = order.flatMap((name) => first.pools.find((pool) => pool.name === name)?.origins.map((origin) => origin.name) || []);
  const drawn = requestAnimationFrame(() => { off = history(lanes, { name: one.key, pools: order, origins: [...new Set(names)], signal }); });
  return {
    title: one.name, crumbs: BACK, strip: strip(), onLeave: () => { clearTimeout(timer); cancelAnimationFrame(drawn); off(); },
    node: [
      h('div', { class: 'head' }, h('div', { class: 'grow' }, h1, lede), h('div', { class: 'acts' }, !hidden.has('users') && button('Where would a client go', () => whereTo(users)), h('a', { class: 'btn', href: `#/balancing/${one.id}/edit` }, one.in_file ? 'Settings' : 'Edit'))),
      h('div', { class: 'tw', tabindex: 0, role: 'region', 'aria-label': 'Pools and origins' }, h('table', { class: 'origins' }, h('caption', { class: 'vh' }, 'Pools and origins'), h('thead', {}, h('tr', {}, ORIGIN_HEADS.map((head, i) => { const [text, kind] = [head].flat(); return h('th', { scope: 'col', class: kind }, text || h('span', { class: 'vh' }, i ? 'Actions' : 'State')); }))), body)),
      h('div', { class: 'cols' }, lanes, h('section', {}, h('div', { class: 'sec' }, h('h2', {}, 'Used by')), h('dl', { class: 'kv' }, facts.map(([key, text]) => h('div', {}, h('dt', {}, key), h('dd', {}, text)))))),
    ],
  };
}

function whereTo(users) {
  const answer = h('ol', { class: 'steps' });
  if (!users.length) return dialog({ title: 'Where would a client go?', body: h('p', {}, 'No app leads to this load balancer.') });
  const app = h('select', { class: 'field', id: 'wt-app' }, users.map((one) => h('option', { value: one.key }, one.name)));
  const client = h('input', { class: 'field', id: 'wt-client', placeholder: '203.0.113.77', autocomplete: 'off', spellcheck: 'false' });
  const ask = async (event) => {
    event?.preventDefault();
    try {
      const told = await api.get('/accounts/{account}/explain', { app: app.value, client: client.value });
      put(answer, (told.steps || told).map((line, i) => h('li', {}, h('span', {}, String(i + 1)), h('span', {}, line))));
    } catch (error) { put(answer, h('li', {}, mark('failed'), h('span', {}, error.text))); }
  };
  dialog({ title: 'Where would a client go?', wide: true, body: [h('form', { class: 'form', onsubmit: ask }, h('div', { class: 'rows' }, h('div', { class: 'f half' }, h('label', { class: 'lab', for: 'wt-client' }, 'Its address'), client), h('div', { class: 'f half' }, h('label', { class: 'lab', for: 'wt-app' }, 'App'), app)), h('div', {}, h('button', { class: 'btn primary', type: 'submit' }, 'Tell'))), answer] });
  client.focus();
}

async function edit({ params }) {
  const isNew = params.id === 'new';
  const { hidden, pools = [] } = await parts({ pools: objects('pools') });
  const named = (byName) => pools.map((one) => [byName ? one.key : one.id, one.name]);
  const zone = api.ownZones[0];
  const made = await editor({
    section: 'load_balancers', noun: 'load balancer', id: isNew ? '' : params.id, path, scope: () => '/accounts/{account}', collection: () => '/accounts/{account}/load_balancers',
    initial: { name: `lb.${zone?.name || 'example.com'}` },
    layout: ({ byName }) => ({
      without: ['/zone', '/account', '/rules', '/proxied', '/ttl', '/networks', '/location_strategy', '/zone_name'],
      sections: [
        { title: 'Name', fields: [{ key: '/name', label: 'Host name', kind: 'text', hint: 'An app leads to it by this name' }, { key: '/enabled', label: 'In use', default: true }] },
        { title: 'Pools', fields: [
          { key: '/default_pools', label: 'Pools, in order of failover', kind: 'refs', add: 'Add a pool', options: named(byName), hint: hidden.size ? mayNot('pools') : pools.length ? 'The first one that is healthy takes the sessions' : 'There is no pool yet: add one first' },
          { key: '/fallback_pool', label: 'When none is healthy', kind: 'select', options: named(byName), none: 'choose one' },
          { key: '/steering_policy', label: 'Which pool', kind: 'select', default: '', options: [['', 'in order; by place where there are pools of places'], ['off', 'in order'], ['random', 'random, by weights'], ['geo', 'by the client’s place'], ['proximity', 'the nearest'], ['dynamic_latency', 'the fastest probes'], ['least_connections', 'fewest sessions'], ['least_outstanding_requests', 'fewest waiting']] },
        ] },
        { title: 'Affinity', fields: [
          { key: '/session_affinity', label: 'A client stays at its origin', kind: 'choice', default: 'none', options: [['none', 'No'], ['ip', 'By address'], ['ip_port', 'By address and port']] },
          { key: '/session_affinity_ttl', label: 'For', kind: 'duration', isHalf: true, placeholder: '30m', when: (value) => value.session_affinity && value.session_affinity !== 'none' },
          { key: '/session_affinity_attributes/drain_duration', label: 'Drain time', kind: 'duration', isHalf: true, placeholder: 'until sessions end', hint: 'Of origins that are disabled or removed' },
          { key: '/adaptive_routing/failover_across_pools', label: 'Try the next pool where an origin cannot be reached' },
        ] },
      ],
    }),
    effects: ({ after, changes, isNew: added }) => added ? [`New sessions of apps that lead to it go to ${[].concat(after.default_pools)[0]} first.`] : ['Open sessions stay where they are; new ones go by what is saved.', ...('default_pools' in changes ? [`The order is ${[].concat(after.default_pools).join(', then ')}.`] : [])],
    saved: (result, added) => (added ? go(`/balancing/${result.id}`) : reopen()),
  });
  const name = isNew ? 'Add a load balancer' : made.stands.name;
  return { title: isNew ? name : 'Settings', crumbs: isNew ? BACK : [...BACK, [name, `#/balancing/${params.id}`]], node: [h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, isNew ? name : ['Settings of ', h('bdi', {}, name)]), h('p', { class: 'lede' }, 'Which pools, in which order or shares, for whom.')), h('div', { class: 'acts' }, !isNew && !made.isReadonly && deleting({ noun: 'load balancer', name, path: path(params.id), done: () => go('/balancing') }))), made.node] };
}
