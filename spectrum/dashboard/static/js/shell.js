// The frame of every page: rail, bar, phone tabs, and the banner that says when nothing is heard any more.
import { h, put, $, $$ } from './dom.js';
import { api } from './api.js';
import { hms, zone, dur, count, capital } from './format.js';
import { mark } from './marks.js';
import { live } from './live.js';
import { palette, addToPalette, matches } from './overlay.js';
import { PALETTE_KEY, showKeys } from './keys.js';
import { linkTo, SECTIONS } from './links.js';
import { GROUPS, PAGES, TABS } from './pages.js';
import { href } from './router.js';
import { rangeQuery } from './time.js';

const TIMED = new Set(['/', '/analytics']);
const BARS = [[3, 14], [7, 9], [11, 4], [15, 11]];
export const logo = () => h('svg', { width: 20, height: 20, viewBox: '0 0 20 20', 'aria-hidden': 'true' }, BARS.map(([x, y]) => h('rect', { x, y, width: 2, height: 17 - y, fill: 'currentColor' })));
const isDark = () => { const own = document.documentElement.dataset.theme; return own ? own === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches; };

export function flipTheme() {
  const theme = isDark() ? 'light' : 'dark';
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem('theme', theme); } catch { /* for this page */ }
  for (const one of $$('[data-flips]')) one.textContent = isDark() ? 'Light theme' : 'Dark theme';
}

/** Draw the frame; return {outlet, shown}: where pages go, and what is to be told of each. */
export function makeShell({ leave, changeAccount }) {
  const items = new Map();
  const outlet = h('main', { id: 'content', class: 'page', tabindex: -1 });
  const link = ([path, label]) => {
    const counts = h('span', { class: 'st' });
    const node = h('a', { href: href(path) }, h('span', {}, label), counts);
    items.set(path, { node, counts });
    return h('li', {}, node);
  };
  const groups = GROUPS.map((name) => [name, PAGES.filter(([, label, group]) => label && group === name)]).filter(([, pages]) => pages.length);
  const status = h('div'), revision = h('div');
  const place = h('small', {}, location.hostname);
  const accounts = api.accounts.length > 1 && h('select', { class: 'pick', 'aria-label': 'Account', onchange: async ({ target }) => { await changeAccount(target.value); target.value = api.account.id; }, value: api.account?.id },
    api.accounts.map((one) => h('option', { value: one.id }, one.name)));
  const rail = h('header', { class: 'rail' },
    h('a', { class: 'brand', href: '#/' }, logo(), h('span', {}, 'Spectrum', place)), accounts,
    h('nav', { 'aria-label': 'Pages' }, groups.map(([name, pages]) => h('div', {}, h('div', { class: 'group' }, name), h('ul', {}, pages.map(link))))),
    h('div', { class: 'foot' }, status, revision,
      h('div', { class: 'row' }, h('button', { type: 'button', class: 'btn bare small', 'data-flips': true, onclick: flipTheme }, isDark() ? 'Light theme' : 'Dark theme'),
        api.token && h('button', { type: 'button', class: 'btn bare small', onclick: leave }, 'Sign out'),
        h('button', { type: 'button', class: 'btn bare small', 'aria-label': 'Keyboard shortcuts', onclick: showKeys }, '?'))));

  const crumb = h('nav', { class: 'crumb grow', 'aria-label': 'Where you are' });
  const clock = h('time', {}), word = h('span', { class: 'word' }, 'Live');
  const pause = h('button', { type: 'button', class: 'btn bare live hide-s', 'aria-pressed': 'false', title: 'Pause (Space)', onclick: () => live.pause() }, h('i'), word, clock, h('span', { class: 'zone' }, zone()));
  const search = h('button', { type: 'button', class: 'btn jump', onclick: palette },
    h('svg', { width: 16, height: 16, viewBox: '0 0 16 16', fill: 'none', stroke: 'currentColor', 'stroke-width': 1.5, 'aria-hidden': 'true' }, h('circle', { cx: 7, cy: 7, r: 4.5 }), h('path', { d: 'M10.5 10.5 14 14' })),
    h('b', { class: 'vh' }, 'Search: '), h('span', {}, 'Address, app, origin, page'), h('kbd', { class: 'kbd', 'aria-hidden': 'true' }, PALETTE_KEY));
  const strip = h('div', { class: 'strip-place' });
  const top = h('section', { class: 'top', 'aria-label': 'Search and time range' }, h('div', { class: 'bar' }, crumb, pause, search), strip);
  const lost = h('div', { role: 'status' });
  const tabs = TABS.map((path) => PAGES.find((page) => page[0] === path)).filter(Boolean).slice(0, 4);
  const more = h('button', { type: 'button', onclick: palette }, 'More');
  const bar = h('nav', { class: 'tabs', 'aria-label': 'Main pages' }, tabs.map(([path, label]) => h('a', { href: href(path), 'data-path': path }, label === 'Load balancing' ? 'Balancing' : label)), more);

  put(document.body, h('a', { class: 'skip', href: '#content', onclick: (event) => { event.preventDefault(); outlet.focus(); } }, 'To the content'),
    h('div', { class: 'shell' }, rail, h('div', { class: 'main' }, lost, top, outlet)), bar);

  live.on((now) => {
    clock.textContent = hms(now.at);
    clock.dateTime = new Date(now.at * 1000).toISOString();
    place.textContent = now.node || location.hostname;
    const workers = now.workers;
    status.textContent = workers ? `${capital(count(workers.serving, 'worker'))}, ${workers.serving === workers.wanted ? 'all serving' : `${workers.wanted} wanted`}` : '';
    revision.textContent = `Revision ${now.revision}${now.version ? ` · ${now.version}` : ''}`;
    for (const [path, { counts }] of items) showCount(counts, summed(now.trouble, SECTIONS[path]));
  });
  live.onState(({ paused, state, why }) => {
    pause.setAttribute('aria-pressed', String(paused));
    word.textContent = paused ? 'Paused' : 'Live';
    put(lost, ['lost', 'refused'].includes(state) && h('div', { class: 'banner lost' }, mark('degraded'), h('p', {}, h('b', {}, state === 'lost' ? 'Reconnecting. ' : 'No live figures. '), `${why} ${live.now ? `Figures are of ${hms(live.now.at)}.` : ''}`)));
  });
  setInterval(() => { const text = $('.lost p'); if (text && live.heard) text.lastChild.textContent = `${live.why} Last heard ${dur(Math.round((Date.now() - live.heard) / 1000))} ago; figures are of ${hms(live.now.at)}.`; }, 1000);

  addToPalette((words) => [
    ...PAGES.filter(([, label]) => label && matches(words, label)).map(([path, label]) => ({ label, kind: 'page', href: href(path) })),
    ...[['Switch theme', flipTheme], ['Pause or resume live updates', () => live.pause()], ['Keyboard shortcuts', showKeys], ...(api.token ? [['Sign out', leave]] : [])].filter(([label]) => matches(words, label)).map(([label, run]) => ({ label, kind: 'do', run })),
  ]);

  // Apps that move are at hand; the others are asked for when two letters are there.
  let names = null;
  addToPalette((words) => {
    if (!words.length || words.join('').length < 2) return (live.now?.apps || []).slice(0, 8).filter((app) => matches(words, app.name)).map(appHit);
    names ||= api.list('/accounts/{account}/spectrum/objects/apps').then((found) => found.map(({ id, key }) => ({ id, name: key })), () => live.now?.apps || []);
    setTimeout(() => { names = null; }, 30_000);
    return names.then((all) => all.filter((app) => matches(words, `app ${app.name}`)).slice(0, 20).map(appHit));
  });

  let turn = 0;
  function shown(result, own) {
    busy(++turn);
    const { title, crumbs, strip: node } = result, of = own.parent || own.path;
    put(crumb, (crumbs || []).map(([label, to]) => [h('a', { href: to }, label), ' / ']), h('b', {}, h('bdi', {}, crumbs ? title : own.label || title)));
    document.title = `${title} · Spectrum`;
    put(strip, node || null);
    for (const [path, item] of items) {
      item.node.setAttribute('href', href(path, TIMED.has(path) ? rangeQuery() : {}));
      if (path === of) item.node.setAttribute('aria-current', 'page'); else item.node.removeAttribute('aria-current');
    }
    const isTab = tabs.some(([path]) => path === of);
    for (const tab of bar.children) if (tab === more ? !isTab : tab.dataset.path === of) tab.setAttribute('aria-current', tab === more ? 'true' : 'page'); else tab.removeAttribute('aria-current');
  }
  // What reads a page waits until it has what it asked for.
  async function busy(mine) {
    outlet.setAttribute('aria-busy', 'true');
    await api.quiet();
    if (mine !== turn) return;
    outlet.removeAttribute('aria-busy');
    performance.mark('ready');
  }
  return { outlet, shown };
}

const summed = (trouble, sections = []) => sections.reduce((all, one) => ({ failed: all.failed + (trouble[one]?.failed || 0), degraded: all.degraded + (trouble[one]?.degraded || 0) }), { failed: 0, degraded: 0 });

const appHit = (app) => ({ label: app.name, kind: 'app', href: linkTo('apps', app.id) });

/** Counts of trouble in the rail: {failed, degraded}; fine takes no room. */
function showCount(node, trouble) {
  const kind = trouble?.failed ? 'failed' : trouble?.degraded ? 'degraded' : '';
  const n = kind ? trouble[kind] : 0, shown = kind + n;
  if (node.dataset.shown === shown) return;
  node.dataset.shown = shown;
  node.className = `st ${kind}`;
  put(node, n > 0 && [mark(kind), String(n), h('span', { class: 'vh' }, kind === 'failed' ? ' down' : ' to look at')]);
}
