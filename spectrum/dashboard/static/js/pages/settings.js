// Settings of this browser, what the machine lacks, and which versions there are.
import { h, put, foreign } from '../dom.js';
import { dur, setLocal, isLocal, zone, count, capital } from '../format.js';
import { mark } from '../marks.js';
import { api } from '../api.js';
import { areOn, setKeys, showKeys } from '../keys.js';
import { blank, button, failure } from '../states.js';
import { toast } from '../overlay.js';

const root = document.documentElement;
const kv = (pairs, look = '') => h('dl', { class: `kv ${look}` }, pairs.filter(([, value]) => value).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));

/** One of several, as buttons; `now` returns which. */
function choice(label, options, now, choose) {
  const node = h('div', { class: 'seg', role: 'group', 'aria-label': label });
  const draw = () => put(node, options.map(([value, text]) => h('button', { type: 'button', 'aria-pressed': String(now() === value), onclick: () => { choose(value); draw(); } }, text)));
  draw();
  return node;
}

function setTheme(value) {
  if (value === 'system') delete root.dataset.theme; else root.dataset.theme = value;
  try { if (value === 'system') localStorage.removeItem('theme'); else localStorage.setItem('theme', value); } catch { /* for this page */ }
}

export default async function settings(ctx) {
  const title = h('h1', {}, 'Settings'), lede = h('p', { class: 'lede' }), doctor = h('section', {}), versions = h('section', {});
  const browser = h('section', {}, h('h2', { class: 'sec' }, 'This browser'), kv([
    ['Theme', choice('Theme', [['system', 'System'], ['light', 'Light'], ['dark', 'Dark']], () => root.dataset.theme ?? 'system', setTheme)],
    ['Times', choice('Times', [[false, 'UTC'], [true, 'Local']], isLocal, (on) => { setLocal(on); toast(`Times are ${zone()}`); })],
    ['Single keys', h('div', { class: 'settings-keys' }, choice('Single keys', [[true, 'On'], [false, 'Off']], areOn, setKeys), button('Show all keys', showKeys))]], 'controls'));
  async function load() {
    try {
      const [node, found] = await Promise.all([api.get('/accounts/{account}/node', {}, { signal: ctx.signal }), api.get('/accounts/{account}/doctor', {}, { signal: ctx.signal })]);
      const missing = found.findings.filter((one) => !one.verified);
      put(title, missing.length ? `${capital(count(missing.length, 'thing'))} ${missing.length === 1 ? 'is' : 'are'} missing on this machine` : 'Settings');
      put(lede, missing.length ? 'spectrum doctor --install makes what is missing; each line has its command.' : 'Those of this browser are kept in it. What the edge does stands in its file and in its objects.');
      put(doctor, h('h2', { class: 'sec' }, 'What the machine lacks'), examined(found));
      put(versions, h('h2', { class: 'sec' }, 'What is served'), kv([
        ['Version', node.version], ['Revision', String(node.generation)], ['File', node.config && h('code', {}, foreign(node.config))], ['Up for', dur(node.uptime_s)],
        ['API', node.api && foreign(node.api.listen.join(', '))], ['Process', node.pid && String(node.pid)],
        ['Set aside', node.api?.set_aside.length > 0 && h('ul', {}, node.api.set_aside.map((one) => h('li', {}, mark('degraded'), ' ', h('b', {}, `${one.section}.${one.name}`), ' ', foreign(one.message))))],
        ['Takes a restart', node.restart_needed?.length > 0 && node.restart_needed.map((one) => h('div', {}, mark('degraded'), ' ', foreign(one)))]]));
    } catch (error) {
      if (error.name !== 'AbortError') put(doctor, failure(error, load));
    }
  }
  await load();
  return { title: 'Settings', node: [h('section', {}, title, lede), h('div', { class: 'cols half' }, h('div', { class: 'stack' }, browser, versions), doctor)] };
}

function examined({ findings, not_looked: unseen }) {
  if (!findings.length && !unseen.length) return blank('Nothing is missing', 'What is configured needs no more of this machine than any machine has.');
  return [
    findings.length > 0 && h('ol', { class: 'steps' }, [...findings].sort((a, b) => a.verified - b.verified).map((one) => h('li', {}, mark(one.verified ? 'ok' : 'degraded', one.verified ? 'verified' : 'missing'),
      h('div', {}, h('p', {}, one.verified ? one.title : h('b', {}, one.title)), !one.verified && one.remedy && h('p', {}, h('code', {}, one.remedy)))))),
    unseen.length > 0 && blank('Only root can look at the rest', ['The daemon does not run as root. ', h('code', {}, 'sudo spectrum doctor'), ` examines: ${unseen.join('; ')}.`])];
}
