// What several pages show of pools and origins: their state in words, the last probes, the share of sessions.
import { h } from './dom.js';
import { api } from './api.js';
import { dur, int, ms, pct } from './format.js';
import { confirmInPlace, toast } from './overlay.js';
import { mark } from './marks.js';
import { button } from './states.js';
import { sentence } from './editor.js';

const PROBES = 40;
const KIND = { healthy: 'ok', 'not monitored': 'ok', unknown: 'idle', degraded: 'degraded', critical: 'failed', down: 'failed', ejected: 'failed', drained: 'idle', disabled: 'idle' };
export const kindOf = (health) => KIND[health] || 'idle';
export const isUp = (origin) => ['healthy', 'not monitored'].includes(origin.health);
export const addressOf = (origin) => `${origin.address.includes(':') ? `[${origin.address}]` : origin.address}${origin.port ? `:${origin.port}` : ''}`;
export const poolState = (pool) => ({ healthy: 'healthy', degraded: 'degraded', critical: 'down', unknown: 'not probed yet', disabled: 'disabled' }[pool.health] || pool.health);
/** What is known of pools where the token may not read them. */
export const UNKNOWN = { pools: [], load_balancers: [] };
export const state = (signal) => api.get('/accounts/{account}/load_balancers/state', null, { signal });

/** How an origin is, since when, and why. */
export function healthWords(origin) {
  const since = origin.changed_s_ago != null && origin.health === 'down' ? ` ${dur(origin.changed_s_ago)}` : '';
  const words = { 'not monitored': 'nobody probes it', unknown: 'not probed yet', ejected: 'ejected', drained: 'drained by hand' }[origin.health] || origin.health;
  const why = origin.by_hand && origin.health !== 'down' ? `since ${/since (\S+)/.exec(origin.by_hand)?.[1] || 'a while'}` : origin.reason;
  return [h('span', { class: kindOf(origin.health) === 'failed' ? 't-failed' : 'soft' }, words + since), why && h('div', { class: 'small quiet', title: why }, h('bdi', {}, why))];
}

/** The last 40 probes: low and grey where they passed, high and red where they failed. */
export function probes(text) {
  if (!text) return h('span', { class: 'quiet' }, 'none');
  const shown = text.slice(-PROBES), failed = [...shown].filter((one) => one === '0').length, from = PROBES - shown.length;
  const said = failed === 0 ? `The last ${shown.length} probes passed` : failed === shown.length ? `All of the last ${shown.length} probes failed` : `${failed} of the last ${shown.length} probes failed`;
  return h('svg', { width: 119, height: 18, viewBox: '0 0 119 18', role: 'img', 'aria-label': said }, [...shown].map((one, i) => h('rect', { x: (from + i) * 3, y: one === '0' ? 1 : 8, width: 2, height: one === '0' ? 16 : 9, fill: one === '0' ? 'var(--failed)' : 'var(--line-strong)' })));
}

/** The sessions of an origin: the bar is its part of them, the line what it should have by its weight. */
export function meter(got, wanted) {
  return h('span', { class: 'meter', role: 'img', 'aria-label': `${pct(got)} of sessions, ${pct(wanted)} by weight` }, h('i', { css: { width: `${Math.min(100, got * 100)}%` } }), h('b', { css: { left: `calc(${Math.min(100, wanted * 100)}% - 1px)` } }));
}

/** What a monitor needs to notice that an origin is gone, at most, in seconds. */
export function noticing(monitor) {
  const every = seconds(monitor.interval ?? 60), wait = seconds(monitor.timeout ?? 5) * (1 + (monitor.retries ?? 2));
  return every * Math.max(1, monitor.consecutive_down ?? 0) + wait;
}
export function seconds(value) {
  if (typeof value === 'number') return value;
  const units = { us: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600, d: 86400 };
  return [...String(value).matchAll(/([\d.]+)(us|ms|s|m|h|d)?/g)].reduce((sum, [, n, unit]) => sum + n * units[unit || 's'], 0);
}

/** What is to be done with an origin by hand: a button, and in its place the question. */
export function byHand(pool, origin, row, done) {
  const isOut = ['drained', 'disabled'].includes(origin.health) && origin.by_hand;
  if (!isOut && origin.health === 'disabled') return null;
  const [verb, wanted] = isOut ? ['Serve again', 'enable'] : origin.health === 'down' ? ['Disable', 'disable'] : ['Drain', 'drain'];
  return h('button', { type: 'button', class: 'btn', onclick: async () => {
    if (document.querySelector('tr .confirm')) return;
    const others = pool.origins.filter((one) => one !== origin && isUp(one));
    const open = origin.sessions;
    const then = isOut ? [h('b', {}, `${origin.name} gets new sessions again`), ', as soon as it is healthy.']
      : [h('b', {}, !others.length ? `Then no origin of ${pool.name} serves. ` : others.length === 1 ? `Then ${others[0].name} alone serves. ` : `Then ${others.length} origins serve. `),
        wanted === 'drain' ? `New sessions stop going to ${origin.name} at once. ${open ? `${int(open)} ${open === 1 ? 'is' : 'are'} open and ${open === 1 ? 'goes' : 'go'} on until ${open === 1 ? 'it ends' : 'they end'} by themselves.` : 'None is open there.'} ${others.length === 1 && open ? `${others[0].name} has ${int(others[0].sessions)} and would have ${int(others[0].sessions + open)} if all came back.` : ''}`
          : `No probe brings ${origin.name} back, and its UDP flows get another origin; ${int(open)} TCP sessions go on.`,
        ' It stays so over restarts, until it serves again.'];
    if (!await confirmInPlace(row(), { text: then, verb: `${verb}${isOut ? `: ${origin.name}` : ` ${origin.name}`}`, keep: isOut ? 'Not yet' : 'Keep', tag: 'tr' })) return;
    try {
      await api.post(`/accounts/{account}/load_balancers/pools/${pool.id}/by_hand`, { origin: origin.name, state: wanted });
      toast({ drain: `${origin.name} is drained: ${int(open)} open`, disable: `${origin.name} is disabled`, enable: `${origin.name} serves again` }[wanted]);
    } catch (error) {
      toast(`Not done: ${sentence(error)}`);
    }
    done();
  } }, verb, h('span', { class: 'vh' }, ` ${origin.name}`));
}

/** The rows of a pool's origins. `can` adds what is to be done by hand; `done` is called after that. */
export function originRows(pool, { can = true, done = () => {} } = {}) {
  const sum = pool.origins.reduce((all, one) => all + one.sessions, 0);
  const share = pool.origins.reduce((all, one) => all + one.share, 0) || 1;
  return pool.origins.map((origin) => {
    let tr = null;
    tr = h('tr', { 'data-origin': origin.name }, h('td', {}, mark(kindOf(origin.health), kindOf(origin.health) === 'ok' ? null : origin.health)),
      h('td', {}, h('b', {}, h('bdi', {}, origin.name)), h('div', { class: 'small quiet nowrap' }, addressOf(origin))),
      h('td', {}, healthWords(origin)),
      h('td', { class: 'hide-s' }, probes(origin.probes)),
      h('td', { class: 'num hide-s' }, origin.rtt_ms ? ms(origin.rtt_ms * 1e6) : h('span', { class: 'quiet' }, 'none')),
      h('td', { class: 'num' }, origin.sessions ? int(origin.sessions) : h('span', { class: 'quiet' }, '0'), meter(sum ? origin.sessions / sum : 0, origin.share / share)),
      h('td', { class: 'num hide-s' }, String(origin.weight)),
      h('td', { class: 'num' }, can && byHand(pool, origin, () => tr, done)));
    return tr;
  });
}
export const ORIGIN_HEADS = ['', 'Origin', 'Health', ['Last 40 probes', 'hide-s'], ['Probe RTT', 'num hide-s'], ['Sessions, share', 'num'], ['Weight', 'num hide-s'], ['', 'num']];
