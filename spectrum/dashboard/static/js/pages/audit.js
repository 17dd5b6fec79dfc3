// The audit log: who changed what, from where; before and after.
import { h, put, foreign } from '../dom.js';
import { ago, instant, count, capital } from '../format.js';
import { mark } from '../marks.js';
import { api } from '../api.js';
import { table } from '../table.js';
import { blank, button, failure } from '../states.js';
import { diff, yaml } from '../diff.js';
import { saveAs } from '../saving.js';

const PAGE = 200, DAY = 86400, SPANS = { '1d': 'last day', '7d': 'last 7 days', '30d': 'last 30 days', '365d': 'last year' };
const VERBS = { create: 'added', update: 'changed', delete: 'deleted', roll: 'gave a new value to', kill: 'ended' };
const PASSIVE = { ...VERBS, roll: 'given a new value' };
const who = (one) => one.actor.token_name || (one.actor.type === 'system' ? 'the program' : one.actor.email || 'somebody unknown');
// What was to be made, and was refused, has no name.
const name = (one) => one.resource.scope?.name || one.resource.id || (one.resource.type ? 'a new object' : one.raw.uri);
const kind = (one) => one.resource.type.replaceAll('_', ' ').replace(/s$/, '');
const failed = (one) => one.action.result !== 'success';

export default async function audit(ctx) {
  let query = ctx.query, rows = [], after = '', gone = false;
  const span = () => (query.last in SPANS ? query.last : '7d');
  const title = h('h1', {}, 'Audit log'), lede = h('p', { class: 'lede' }), detail = h('section', { class: 'audit-one', hidden: true }), more = h('div', { class: 'audit-more' });
  const list = table({
    label: 'Changes', onOpen: open, key: (one) => one.id,
    filter: { placeholder: 'Filter by object, who, address', text: (one) => `${name(one)} ${one.resource.type} ${one.action.type} ${who(one)} ${one.actor.ip_address}`, value: query.q,
      onChange: (text) => ctx.setQuery({ q: text || null }), parts: [{ label: 'All' }, { label: 'Refused', test: failed }] },
    empty: blank('Nothing was changed in this time', 'Every change by the API is written here when it is made, with what was before; so are attempts that were refused.'),
    columns: [
      { key: 'result', label: '', rank: 1, width: '28px', render: (one) => mark(failed(one) ? 'mitigated' : 'change', failed(one) ? 'refused' : 'done'), value: (one) => one.action.result },
      { key: 'what', label: 'What', rank: 1, render: (one) => [h('b', {}, foreign(name(one))), h('span', { class: 'quiet' }, ` ${kind(one)}`)], value: name },
      { key: 'action', label: 'Done to it', rank: 2, width: '124px', render: (one) => (failed(one) ? `${one.action.type}, refused` : VERBS[one.action.type] ?? one.action.type), value: (one) => one.action.type },
      { key: 'who', label: 'By', rank: 2, render: (one) => foreign(who(one)), value: who },
      { key: 'ip', label: 'From', rank: 4, width: '148px', render: (one) => one.actor.ip_address || h('span', { class: 'quiet' }, 'this machine'), value: (one) => one.actor.ip_address },
      { key: 'time', label: 'When', rank: 1, align: 'num', width: '116px', render: (one) => h('time', { datetime: one.action.time, title: instant(one.action.time) }, ago(one.action.time)), value: (one) => one.action.time },
    ],
  });
  const spans = h('label', { class: 'audit-span' }, h('span', { class: 'vh' }, 'Of which time'), h('select', { class: 'pick', onchange: (event) => { query = { ...query, last: event.target.value }; ctx.setQuery({ last: event.target.value === '7d' ? null : event.target.value }); load(); } },
    Object.entries(SPANS).map(([value, label]) => h('option', { value, selected: value === span() }, label))));
  const asked = () => {
    const now = Date.now() / 1000;
    return { since: new Date((now - parseInt(span(), 10) * DAY) * 1000).toISOString(), before: new Date((now + 60) * 1000).toISOString() };
  };

  async function load(cursor = '') {
    try {
      const { result, info } = await api.ask('GET', '/accounts/{account}/logs/audit', { params: { ...asked(), limit: PAGE, cursor, resource_id: query.resource, actor_token_id: query.by }, signal: ctx.signal });
      if (gone) return;
      rows = cursor ? [...rows, ...result] : result;
      after = info?.cursors?.after || '';
      say();
      list.node.hidden = false;
      list.setRows(rows);
      put(more, after && button('Show earlier changes', () => load(after)));
    } catch (error) {
      if (error.name === 'AbortError') return;
      list.node.hidden = !rows.length;
      put(more, failure(error, () => load(cursor)));
    }
  }

  function say() {
    const done = rows.filter((one) => !failed(one)), last = done[0], some = rows.length - done.length;
    put(title, last ? [foreign(name(last)), ` was ${PASSIVE[last.action.type] ?? 'changed'} `, ago(last.action.time)] : 'Nothing was changed');
    put(lede, `${capital(count(done.length, 'change'))}${after ? ' and more' : ''} in the ${SPANS[span()]}`, last && [', the last one by ', foreign(who(last))], '. ',
      some > 0 && `${capital(count(some, 'attempt'))} ${some === 1 ? 'was' : 'were'} refused.`, (query.resource || query.by) && [query.by ? ' Of one token: ' : ' Of one object: ', h('a', { href: '#/audit' }, 'show all'), '.']);
  }

  function open(one) {
    detail.hidden = false;
    const before = one.resource.response, now = one.resource.request;
    put(detail, h('div', { class: 'sec' }, h('h2', {}, foreign(name(one)), ` ${VERBS[one.action.type] ?? one.action.type}`, failed(one) && ': refused'), h('span', { class: 'end' }, h('button', { type: 'button', class: 'mini', onclick: () => { detail.hidden = true; } }, 'Close'))),
      h('div', { class: 'cols' },
        before || now ? diff(before ? yaml(before) : '', now ? yaml(now) : '', { whole: !before || !now }) : h('p', { class: 'soft' }, failed(one) ? 'It was not carried out, and its body is not kept.' : 'Nothing is kept of what it was.'),
        h('dl', { class: 'kv' }, [['When', instant(one.action.time)], ['By', foreign(who(one))], ['From', one.actor.ip_address || 'this machine'], ['Request', h('code', {}, `${one.raw.method} `, foreign(one.raw.uri))], ['Answer', one.raw.status_code > 0 && String(one.raw.status_code)], ['Number', one.raw.cf_ray_id && h('code', {}, one.raw.cf_ray_id)], ['Client', one.raw.user_agent && foreign(one.raw.user_agent)]]
          .filter(([, value]) => value).map(([key, value]) => h('div', {}, h('dt', {}, key), h('dd', {}, value))))));
    detail.scrollIntoView({ block: 'nearest' });
  }

  async function save() {
    const answer = await fetch(api.url('/accounts/{account}/audit_logs', { ...asked(), export: true }), { headers: api.token ? { authorization: `Bearer ${api.token}` } : {}, cache: 'no-store' });
    saveAs(`audit-${new Date().toISOString().slice(0, 10)}.csv`, await answer.blob());
  }

  await load();
  return {
    title: 'Audit log',
    node: [h('section', {}, h('div', { class: 'head' }, h('div', { class: 'grow' }, title, lede), h('div', { class: 'acts' }, spans, button('CSV', save)))), detail, h('section', {}, list.node, more)],
    onLeave: () => { gone = true; },
  };
}
