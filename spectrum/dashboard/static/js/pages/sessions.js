// Open sessions: who is connected, where to, why there; and their end.
import { h, put, foreign } from '../dom.js';
import { int, bytes, dur, count, capital } from '../format.js';
import { mark } from '../marks.js';
import { api } from '../api.js';
import { live } from '../live.js';
import { table } from '../table.js';
import { blank, button, failure } from '../states.js';
import { confirmInPlace, dialog, toast } from '../overlay.js';
import { host } from '../address.js';
import { explained } from '../steps.js';

const EVERY_MS = 2000, SHOWN = 1000;
const FILTERS = [['client', 'Client', 'IP or prefix'], ['app', 'App', 'name'], ['origin', 'Origin', 'name or IP']];
const ORDERS = { age: 'oldest first', bytes: 'most moved first', idle: 'longest idle first', app: 'by app', client: 'by client' };
// They are not relayed yet, or not any more.
const WAITING = new Set(['header', 'delayed', 'queued', 'client_tls', 'connecting', 'origin_tls']);
const sum = (row) => row.bytes_from_client + row.bytes_from_origin;

export default async function sessions(ctx) {
  let query = ctx.query, total = 0, timer = 0, gone = false, chosen = null;
  const filters = () => Object.fromEntries(FILTERS.map(([key]) => [key, query[key]]).filter(([, value]) => value));
  const order = () => (query.sort in ORDERS ? query.sort : 'age');
  const title = h('h1', {}, 'Sessions'), lede = h('p', { class: 'lede' }), detail = h('section', { class: 'session', hidden: true });
  const nobody = h('div');
  const list = table({
    label: 'Open sessions', onOpen: open, empty: nobody,
    columns: [
      { key: 'state', label: '', rank: 1, width: '28px', render: (row) => mark(WAITING.has(row.state) ? 'degraded' : 'ok', row.state) },
      { key: 'client', label: 'Client', rank: 1, render: (row) => [h('b', {}, row.client), h('div', { class: 'small quiet narrow' }, foreign(row.app), row.origin && [' → ', foreign(row.origin_name || row.origin)])] },
      { key: 'app', label: 'App', rank: 2, render: (row) => foreign(row.app) },
      { key: 'origin', label: 'Origin', rank: 3, render: (row) => (row.origin ? [row.origin, row.origin_name && h('span', { class: 'quiet' }, ' ', foreign(row.origin_name))] : h('span', { class: 'quiet' }, row.state)) },
      { key: 'age_s', label: 'Age', align: 'num', rank: 1, width: '96px', render: (row) => dur(row.age_s) },
      { key: 'idle_s', label: 'Idle', align: 'num', rank: 4, width: '84px', render: (row) => dur(row.idle_s) },
      { key: 'bytes_from_client', label: 'From client', align: 'num', rank: 3, width: '104px', render: (row) => bytes(row.bytes_from_client) },
      { key: 'bytes_from_origin', label: 'From origin', align: 'num', rank: 2, width: '104px', render: (row) => bytes(row.bytes_from_origin) },
    ],
  });
  const end = h('button', { type: 'button', class: 'btn danger', hidden: true, onclick: endAll });
  const form = h('form', { class: 'session-find', role: 'search', onsubmit: find },
    FILTERS.map(([key, label, hint], i) => h('label', {}, h('span', {}, label), h('input', { class: 'field', type: 'search', name: key, value: query[key] ?? '', placeholder: hint, 'data-filter': i === 0, spellcheck: 'false', autocapitalize: 'off' }))),
    h('label', {}, h('span', {}, 'Order'), h('select', { class: 'field', name: 'sort', onchange: find }, Object.entries(ORDERS).map(([key, label]) => h('option', { value: key, selected: key === order() }, label)))),
    h('button', { class: 'btn' }, 'Find'), end);

  function find(event) {
    event.preventDefault();
    const given = Object.fromEntries([...new FormData(form)].map(([key, value]) => [key, value.trim() || null]));
    query = given;
    ctx.setQuery({ ...given, sort: given.sort === 'age' ? null : given.sort });
    refresh();
  }

  async function refresh() {
    clearTimeout(timer);
    timer = setTimeout(refresh, EVERY_MS);
    if (live.paused || document.hidden) return;
    try {
      const { result, info } = await api.ask('GET', '/accounts/{account}/sessions', { params: { ...filters(), sort: order(), limit: SHOWN }, signal: ctx.signal });
      if (gone) return;
      total = info.total_count;
      say(result, info.silent);
      list.setRows(result);
    } catch (error) {
      if (gone || error.name === 'AbortError') return;
      put(title, 'Sessions cannot be shown');
      put(lede, failure(error));
    }
  }

  function say(rows, silent) {
    const named = Object.entries(filters()), waiting = rows.filter((row) => WAITING.has(row.state)).length;
    put(title, named.length ? `${capital(count(total, 'open session'))} match${total === 1 ? 'es' : ''}` : `${capital(count(total, 'session'))} ${total === 1 ? 'is' : 'are'} open`);
    const most = [...rows].sort((a, b) => sum(b) - sum(a))[0];
    put(lede, !total ? 'Sessions of TCP and flows of UDP, of all workers, as they are now.'
      : [waiting ? `${capital(count(waiting, 'one'))} of them wait${waiting === 1 ? 's' : ''} for a handshake or for an origin. ` : '',
        most && sum(most) ? ['The one that moved most, ', bytes(sum(most)), ', is ', h('a', { href: `#/clients/${encodeURIComponent(host(most.client))}` }, most.client), ' on ', foreign(most.app), '. '] : '',
        total > rows.length ? `The first ${int(rows.length)} are shown, ${ORDERS[order()]}. ` : ''],
    silent.length > 0 && `Not counted: ${silent.join(', ')} gives no answer.`);
    put(nobody, named.length
      ? blank('No open session is like that', named.map(([key, value]) => `${key} ${value}`).join(', '), button('Show all', () => { form.reset(); for (const field of form.querySelectorAll('input')) field.value = ''; form.requestSubmit(); }))
      : blank('Nobody is connected', 'A session stands here within two seconds of its beginning, and goes when it ends.'));
    end.hidden = !named.length || total < 2;
    put(end, `End all ${int(total)}`);
  }

  async function open(row) {
    chosen = row.id;
    const why = h('div');
    detail.hidden = false;
    put(detail, h('div', { class: 'sec' }, h('h2', {}, row.client, ' on ', foreign(row.app)), h('span', { class: 'end' }, h('button', { type: 'button', class: 'mini', onclick: close }, 'Close'))),
      h('div', { class: 'cols half' },
        h('dl', { class: 'kv' }, facts(row).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)))),
        h('div', {}, h('h3', {}, 'Where it would go if it came now, and why'), why)),
      h('div', { class: 'acts' }, h('a', { class: 'btn', href: `#/clients/${encodeURIComponent(host(row.client))}` }, 'Its client’s story'), button('End this session', (event) => endOne(row, event.target), 'danger')));
    await explained(why, row.app, host(row.client), ctx.signal);
    if (chosen === row.id) detail.scrollIntoView({ block: 'nearest' });
  }
  function close() { chosen = null; detail.hidden = true; }

  const facts = (row) => [['State', h('code', {}, row.state)], ['Came to', row.edge], ['Origin', row.origin ? [row.origin, row.origin_name && [' ', foreign(row.origin_name)]] : 'none yet'],
    ['Open for', dur(row.age_s)], ['Idle for', dur(row.idle_s)], ['Moved', `${bytes(row.bytes_from_client)} in, ${bytes(row.bytes_from_origin)} out`], ['Session', h('code', {}, row.id)]];

  async function endOne(row, asked) {
    const text = [h('b', {}, row.client, ' is cut off. '), `It was connected for ${dur(row.age_s)} and moved ${bytes(sum(row))}. It may connect again at once.`];
    if (!await confirmInPlace(asked.parentNode, { text, verb: `End ${row.id}`, danger: true })) return;
    if (await kill({ ids: [row.id] })) close();
  }

  // Several at once are ended by who types which.
  function endAll() {
    const given = filters(), name = Object.values(given).join(' '), n = total;
    const field = h('input', { class: 'field', type: 'text', id: 'which', autocomplete: 'off', spellcheck: 'false' });
    dialog({
      title: `End ${int(n)} sessions`,
      body: h('div', { class: 'stack' }, h('p', {}, `All clients with ${Object.entries(given).map(([key, value]) => `${key} ${value}`).join(', ')} are cut off at once. They may connect again; an access rule, or a pause of the app, prevents that.`),
        h('div', {}, h('label', { for: 'which', class: 'lab' }, 'Type ', h('b', {}, name), ' to end them'), field)),
      actions: [{ label: 'Keep' }, { label: `End ${int(n)} sessions`, kind: 'danger', run: () => {
        if (field.value.trim() !== name) { field.setAttribute('aria-invalid', 'true'); field.focus(); return false; }
        kill(given);
        return true;
      } }],
    });
    field.focus();
  }

  async function kill(what) {
    try {
      const { killed } = await api.post('/accounts/{account}/sessions/kill', what);
      toast(`${capital(count(killed, 'session'))} ended`);
      setTimeout(refresh, 200);
      return true;
    } catch (error) {
      toast(error.text || error.message);
      return false;
    }
  }

  await refresh();
  return {
    title: 'Sessions',
    node: [h('section', {}, h('div', { class: 'head' }, h('div', { class: 'grow' }, title, lede)), form), detail, list.node],
    onQuery: (fresh) => { query = fresh; for (const [key] of FILTERS) form.elements[key].value = fresh[key] ?? ''; refresh(); },
    onLeave: () => { gone = true; clearTimeout(timer); },
  };
}
