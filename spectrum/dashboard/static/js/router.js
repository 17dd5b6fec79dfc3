// Pages by what is behind the # of the address. What a page shows is in its address: every view is a link.
import { h, put } from './dom.js';
import { bones, failure } from './states.js';
import { isUnsaved, mayLeave } from './unsaved.js';

const routes = [];
let outlet, shown = null, turn = 0, onShown = () => {};

/** Have `page` called for addresses like "/apps/:id"; it returns {title, node, strip, crumbs, onLeave, onQuery}. */
export function route(pattern, page, own = {}) {
  const names = [];
  const text = pattern.replace(/:(\w+)(\*?)/g, (_, name, rest) => { names.push(name); return rest ? '(.+)' : '([^/]+)'; });
  routes.push({ pattern, expression: new RegExp(`^${text}$`), names, page, own });
}

function parsed() {
  const [path, query = ''] = location.hash.replace(/^#/, '').split(/\?(.*)/s);
  return { path: path || '/', query: Object.fromEntries(new URLSearchParams(query)) };
}

/** Return the address of a view. */
export function href(path, query = {}) {
  const kept = Object.entries(query).filter(([, value]) => value != null && value !== '');
  const text = new URLSearchParams(kept).toString();
  return `#${path}${text ? `?${text}` : ''}`;
}
export const go = (to) => { location.hash = to.startsWith('#') ? to.slice(1) : to; };
export const here = () => parsed();

/** Change what the address says beside the page; null takes a name away. */
export function setQuery(part, { push = false } = {}) {
  const { path, query } = parsed();
  const address = href(path, { ...query, ...part });
  if (address === location.hash) return;
  history[push ? 'pushState' : 'replaceState'](null, '', address);
  if (shown) shown.hash = location.hash;
}

/** Show pages in `node` from now on; `tell` is told of each. */
export function start(node, tell) {
  outlet = node;
  onShown = tell;
  addEventListener('hashchange', arrive);
  return show();
}

// The address has changed. A page that is not to be left stays, with its own address.
async function arrive() {
  const wanted = location.hash;
  if (shown?.hash === wanted) return;
  if (isUnsaved() && !takesQuery(parsed().path)) {
    history.pushState(null, '', shown.hash || '#/');
    if (!await mayLeave()) return;
    history.replaceState(null, '', wanted);
  }
  show();
}

/** Show the page of the address anew, if it may be left. */
export const open = async () => { if (await mayLeave()) await show(); };

// Whether what is shown takes other values behind its path itself.
const takesQuery = (path) => shown?.path === path && shown.result?.onQuery;

async function show() {
  const mine = ++turn, { path, query } = parsed();
  if (takesQuery(path)) {
    shown.hash = location.hash;
    return shown.result.onQuery(query);
  }
  shown?.abort.abort();
  shown?.result?.onLeave?.();
  const found = routes.map((one) => ({ ...one, match: one.expression.exec(path) })).find((one) => one.match);
  const abort = new AbortController();
  shown = { path, hash: location.hash, abort, result: null, own: found?.own ?? {} };
  if (!found) return void settle(mine, { title: 'No such page', node: nowhere(path) });
  const params = Object.fromEntries(found.names.map((name, i) => [name, decodeURIComponent(found.match[i + 1])]));
  const waiting = setTimeout(() => { if (mine === turn) put(outlet, bones(5)); }, 150);
  try {
    settle(mine, await found.page({ path, params, query, setQuery, go, signal: abort.signal }));
  } catch (error) {
    if (error.name === 'AbortError' || mine !== turn) return;
    if (!error.text) console.warn(error);
    settle(mine, { title: found.own.label || 'Failed', node: [h('h1', {}, 'This page cannot be shown'), failure(explained(error), open)] });
  } finally {
    clearTimeout(waiting);
  }
}

function explained(error) {
  if (error instanceof TypeError && /import|module/i.test(error.message)) return { text: 'A part of the dashboard could not be loaded.', hint: 'The daemon was upgraded, or is away: reload the page.' };
  if (error.status === 403) return { text: 'Your token may not read what this page is about.' };
  return error.text ? error : { text: `This is a fault of the dashboard: ${error.message}` };
}

function settle(mine, result) {
  if (mine !== turn) { result?.onLeave?.(); return; }
  shown.result = result;
  put(outlet, result.node);
  onShown(result, shown.own);
  scrollTo(0, 0);
  // Who uses a keyboard or a screen reader is at the new page's beginning.
  if (mine > 1) outlet.focus({ preventScroll: true });
}

const nowhere = (path) => [
  h('section', {}, h('h1', {}, 'There is no such page'), h('p', { class: 'lede' }, 'The address says ', h('bdi', {}, path.slice(0, 120)), '. ', h('a', { href: '#/' }, 'Overview'), ' has all that needs attention.')),
];
