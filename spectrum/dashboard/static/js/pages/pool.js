// A pool: how its origins are, and its settings.
import { h, put } from '../dom.js';
import { capital, count, int } from '../format.js';
import { deleting, editor, objects } from '../editor.js';
import { mayNot, parts } from '../parts.js';
import { kindOf, ORIGIN_HEADS, originRows, poolState, state } from '../pools.js';
import { go, open as reopen } from '../router.js';

const EVERY_MS = 2000;
const path = (id) => `/accounts/{account}/load_balancers/pools/${id}`;

export default async function pool({ params, query, signal }) {
  const isNew = params.id === 'new';
  const [first, { hidden, monitors = [], groups = [], balancers = [] }] = await Promise.all([isNew ? null : state(signal), parts({ monitors: objects('monitors'), groups: objects('monitor_groups'), balancers: objects('load_balancers') })]);
  const edit = await editor({
    section: 'pools', noun: 'pool', id: isNew ? '' : params.id, path, scope: () => '/accounts/{account}', collection: () => '/accounts/{account}/load_balancers/pools',
    initial: { name: query.name || 'pool', origins: [{ name: 'origin-1', address: '' }] },
    layout: ({ byName }) => ({
      without: ['/account', '/notification_email', '/notification_filter', '/check_regions', '/networks', '/disabled_at'],
      sections: [
        { title: 'Pool', fields: [...(byName ? [] : [{ key: '/name', label: 'Name', kind: 'text', hint: 'Letters, digits, dashes and underscores' }]), { key: '/description', label: 'What it is', kind: 'text' }, { key: '/enabled', label: 'In use', default: true, hint: 'Otherwise it gets no new sessions' }] },
        { title: 'Origins', fields: [{ key: '/origins', label: 'Origins', kind: 'objects', one: 'origin', nameKey: 'name', add: 'Add an origin', hint: 'Names differ within a pool. An address may be a name: it is looked up again when its records expire, at the latest every minute', blank: { name: '', address: '' }, without: ['/virtual_network_id', '/disabled_at', '/flatten_cname'],
          fields: [{ key: '/name', label: 'Name', kind: 'text', hint: '' }, { key: '/address', label: 'Address', kind: 'text', placeholder: '192.0.2.10', hint: '' }, { key: '/port', label: 'Port', kind: 'number', placeholder: 'the app’s', hint: undefined }, { key: '/weight', label: 'Weight', kind: 'number', placeholder: '1', hint: undefined }, { key: '/enabled', label: 'In use', kind: 'switch', default: true, isRare: true }] }] },
        { title: 'Health', fields: [
          { key: '/monitor', label: 'Monitor', kind: 'select', none: 'none: origins count as up', hint: hidden.has('monitors') ? mayNot('monitors') : undefined, options: monitors.map((one) => [byName ? one.key : one.id, one.name]) },
          ...(groups.length ? [{ key: '/monitor_group', label: 'Monitor group', kind: 'select', none: 'none', options: groups.map((one) => [byName ? one.key : one.id, one.value.description || one.name]) }] : []),
          { key: '/minimum_origins', label: 'Origins needed', kind: 'number', isHalf: true, placeholder: '1', hint: 'With fewer the pool is down' },
          { key: '/origin_steering/policy', label: 'Which origin', kind: 'select', isHalf: true, default: 'random', options: [['random', 'random, by weight'], ['hash', 'by the client’s address'], ['least_connections', 'fewest sessions'], ['least_outstanding_requests', 'fewest waiting']] },
        ] },
      ],
    }),
    effects: ({ before, after, isNew: added }) => {
      if (added) return [`${capital(count(after.origins.length, 'origin'))}; a load balancer has to name it before it gets sessions.`, after.monitor ? `Probed as monitor ${after.monitor} says, from now on.` : 'Nobody probes it: all of it counts as up.'];
      const names = (value) => value.origins.map((one) => one.name), gone = names(before).filter((name) => !names(after).includes(name));
      const open = (name) => first?.pools.find((one) => one.id === params.id)?.origins.find((one) => one.name === name)?.sessions || 0;
      return [...gone.map((name) => `${name} gets no new sessions; ${int(open(name))} that are open go on.`), ...(before.monitor !== after.monitor ? ['Its origins are probed anew; until then they keep their state.'] : []), 'Open sessions stay where they are; new ones go by what is saved.'];
    },
    saved: (result, added) => (added ? go(`/balancing/pools/${result.id}`) : reopen()),
  });
  const back = [['Load balancing', '#/balancing']];
  if (isNew) return { title: 'Add a pool', crumbs: back, node: [h('div', {}, h('h1', {}, 'Add a pool'), h('p', { class: 'lede' }, 'Origins that serve the same, at one place.')), edit.node] };
  const { stands } = edit;
  const users = balancers.filter((one) => [...[].concat(one.value.default_pools), one.value.fallback_pool].includes(stands.key));
  const h1 = h('h1'), lede = h('p', { class: 'lede' }), body = h('tbody');
  let timer = 0, now = first;
  function draw() {
    const told = now.pools.find((one) => one.id === params.id);
    if (!told || body.querySelector('.confirm')) return;
    const kind = kindOf(told.health);
    const title = kind === 'failed' || kind === 'degraded' ? ` is ${poolState(told)}` : '';
    if (h1.dataset.said !== title) { h1.dataset.said = title; put(h1, h('bdi', {}, stands.name), title); }
    lede.textContent = `${told.origins_up} of ${told.origins.length} origins up, at least ${told.minimum_origins} needed; ${int(told.sessions)} sessions. `;
    lede.append(...(users.length ? ['Used by ', ...users.flatMap((one, i) => [i ? ', ' : '', h('a', { href: `#/balancing/${one.id}` }, one.name)]), '.'] : [hidden.has('balancers') ? mayNot('load balancers') : 'No load balancer has it.']));
    put(body, originRows(told, { done: look }));
  }
  async function look() {
    clearTimeout(timer);
    if (signal.aborted) return;
    if (!document.hidden) { try { now = await state(signal); draw(); } catch (error) { if (error.name === 'AbortError') return; } }
    timer = setTimeout(look, EVERY_MS);
  }
  put(h1, h('bdi', {}, stands.name));
  draw();
  timer = setTimeout(look, EVERY_MS);
  return {
    title: stands.name, crumbs: back, onLeave: () => clearTimeout(timer),
    node: [
      h('div', { class: 'head' }, h('div', { class: 'grow' }, h1, lede), h('div', { class: 'acts' }, !edit.isReadonly && deleting({ noun: 'pool', name: stands.name, path: path(params.id), done: () => go('/balancing') }))),
      h('div', { class: 'tw', tabindex: 0, role: 'region', 'aria-label': 'Origins' }, h('table', { class: 'origins' }, h('caption', { class: 'vh' }, 'Origins'), h('thead', {}, h('tr', {}, ORIGIN_HEADS.map((head, i) => { const [text, kind] = [head].flat(); return h('th', { scope: 'col', class: kind }, text || h('span', { class: 'vh' }, i ? 'Actions' : 'State')); }))), body)),
      edit.node,
    ],
  };
}
