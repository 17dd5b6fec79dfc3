// Tokens of the API: who may do what, until when, and from where. A token's text is shown once.
import { h, put } from '../dom.js';
import { api } from '../api.js';
import { ago, capital, count, instant, when } from '../format.js';
import { form, same } from '../form.js';
import { copy, keepsPlace, sentence, steps } from '../editor.js';
import { mark } from '../marks.js';
import { confirmed, dialog, toast } from '../overlay.js';
import { go, href, open as reopen } from '../router.js';
import { blank, button } from '../states.js';
import { table } from '../table.js';
import { forget, watch } from '../unsaved.js';

const ALL = 'com.cloudflare.api.account.*', OF = 'com.cloudflare.api.account.';
const KIND = { active: 'ok', disabled: 'idle', expired: 'degraded' };
const resourceOf = (group) => group.name.replace(/ (Read|Write)$/, '');
const may = (token) => token.policies.map((policy) => `${policy.effect === 'deny' ? 'not ' : ''}${policy.permission_groups.map((group) => group.name).join(', ')}`).join('; ');
const whereOf = (token) => { const keys = token.policies.flatMap((policy) => Object.keys(policy.resources)); return keys.some((key) => key.endsWith('.*')) ? 'everywhere' : [...new Set(keys)].map((key) => key.split('.').pop()).map((id) => api.accounts.find((one) => one.id === id)?.name || api.zones.find((one) => one.id === id)?.name || 'elsewhere').join(', '); };

// The operator's own, for who may read tokens everywhere, and those of this account.
async function bases() {
  const found = [];
  let refused;
  for (const base of ['/user/tokens', '/accounts/{account}/tokens']) {
    try { found.push([base, await api.list(base)]); } catch (error) { if (error.status !== 403) throw error; refused = error; }
  }
  if (!found.length) throw refused;
  return found;
}

export default async function tokens(ctx) {
  if (ctx.params.id === 'new') return add();
  const found = await bases();
  const rows = found.flatMap(([base, some]) => some.map((one) => ({ ...one, base, may: may(one), where: whereOf(one) })));
  const row = ctx.params.id && rows.find((one) => one.id === ctx.params.id);
  if (row) return show(row);
  const shown = table({
    label: 'Tokens', rows, key: (one) => one.id, onOpen: (one) => go(`/tokens/${one.id}`), first: (one) => (one.status === 'active' ? 0 : 1),
    columns: [
      { key: 'status', label: '', title: 'State', rank: 1, width: '36px', sort: false, render: (one) => mark(KIND[one.status] || 'idle', one.status) },
      { key: 'name', label: 'Token', rank: 1, width: '24%', href: (one) => href(`/tokens/${one.id}`), render: (one) => [h('b', {}, h('bdi', {}, one.name)), one.status !== 'active' && h('span', { class: 'small quiet' }, `  ${one.status}`)] },
      { key: 'may', label: 'May', rank: 2, render: (one) => h('span', { class: 'soft', title: one.may }, one.may) },
      { key: 'where', label: 'Where', rank: 3, width: '130px', render: (one) => h('span', { class: 'soft' }, one.where) },
      { key: 'last_used_on', label: 'Last used', align: 'num', rank: 1, width: '110px', render: (one) => (one.last_used_on ? h('span', { title: instant(one.last_used_on) }, ago(one.last_used_on)) : h('span', { class: 'quiet' }, 'not yet')) },
      { key: 'expires_on', label: 'Ends', align: 'num', rank: 3, width: '110px', render: (one) => (one.expires_on ? h('span', { title: instant(one.expires_on) }, when(one.expires_on)) : h('span', { class: 'quiet' }, 'never')) },
    ],
    filter: rows.length > 10 ? { placeholder: 'Filter by name', text: (one) => `${one.name} ${one.may} ${one.where}` } : undefined,
    empty: blank('No token yet', 'A token lets a program, or somebody with a browser, use the API: for some objects, until some day, from some addresses.', h('a', { class: 'btn primary', href: '#/tokens/new' }, 'Make a token')),
  });
  const unused = rows.filter((one) => one.status === 'active' && !one.last_used_on).length;
  return { title: 'Tokens', node: [h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, 'Tokens'), h('p', { class: 'lede' }, `${capital(count(rows.filter((one) => one.status === 'active').length, 'token'))} can be used${unused ? `; ${count(unused, 'of them', 'of them')} ${unused === 1 ? 'was' : 'were'} not used yet` : ''}.`)), h('div', { class: 'acts' }, h('a', { class: 'btn primary', href: '#/tokens/new' }, 'Make a token'))), h('section', { class: 'tight' }, shown.node)] };
}

/** Show a token's text, which nobody can show again. */
function once(name, value, then) {
  const text = h('input', { class: 'field', readonly: true, value, 'aria-label': 'The token', onfocus: (event) => event.target.select() });
  dialog({ title: `${name} is made`, body: [h('p', {}, 'Its text is shown here and never again: only a hash of it is kept.'), h('div', { class: 'secret' }, text, button('Copy', () => copy(value, 'The token')))], actions: [{ label: 'I have it', kind: 'primary' }], onClose: then });
  text.focus();
}

async function add() {
  let base = '/user/tokens', groups;
  try { groups = await api.get(`${base}/permission_groups`); await api.ask('GET', base); } catch (error) { if (error.status !== 403) throw error; base = '/accounts/{account}/tokens'; groups = await api.get(`${base}/permission_groups`); }
  const resources = [...new Set(groups.map(resourceOf))];
  const find = (resource, verb) => groups.find((group) => group.name === `${resource} ${verb}`);
  const places = [['*', 'everywhere'], ...api.accounts.map((one) => [`account ${one.id}`, `account ${one.name}`]), ...api.ownZones.map((one) => [`zone ${one.id}`, `zone ${one.name}`])];
  const level = (resource) => ({ key: `/may/${resource.replaceAll('/', '~1')}`, label: resource, kind: 'choice', default: 'no', options: [['no', 'Nothing'], ['Read', 'Read'], ['Write', 'Edit']], isHalf: true, when: (value) => value.preset === 'some', get: (value) => value.may?.[resource], set: (value, one) => ({ ...value, may: { ...value.may, [resource]: one } }) });
  const what = h('div'), initial = { preset: 'read', where: '*', ends: '90d' };
  function body(value) {
    const some = value.preset === 'all' ? [find('Everything', 'Write')] : value.preset === 'read' ? [find('Everything', 'Read')] : resources.map((resource) => find(resource, value.may?.[resource])).filter(Boolean);
    const [kind, id] = String(value.where || '*').split(' ');
    const key = kind === '*' ? ALL : kind === 'zone' ? `${OF}zone.${id}` : `${OF}${id}`;
    const days = { '30d': 30, '90d': 90, '1y': 365 }[value.ends];
    return {
      name: value.name || '',
      policies: [{ effect: 'allow', permission_groups: some.map(({ id: one }) => ({ id: one })), resources: { [key]: '*' } }],
      ...(days ? { expires_on: new Date(Date.now() + days * 86400000).toISOString().slice(0, 19) + 'Z' } : {}),
      ...(value.from?.length ? { condition: { request_ip: { in: value.from } } } : {}),
    };
  }
  const f = form({
    label: 'Token',
    value: initial,
    sections: [
      { title: 'Token', fields: [{ key: '/name', label: 'Name', kind: 'text', placeholder: 'ci', hint: 'Who or what uses it: it stands in the audit log' }] },
      { title: 'May', fields: [{ key: '/preset', label: 'What', kind: 'choice', options: [['read', 'Read everything'], ['all', 'Edit everything'], ['some', 'Choose']], also: ['/policies/0/permission_groups'] }, ...resources.filter((one) => one !== 'Everything').map(level), { key: '/where', label: 'Where', kind: 'select', options: places, also: ['/policies/0/resources'] }] },
      { title: 'Limits', fields: [{ key: '/ends', label: 'Ends', kind: 'choice', options: [['30d', 'In 30 d'], ['90d', 'In 90 d'], ['1y', 'In a year'], ['never', 'Never']], also: ['/expires_on'] }, { key: '/from', label: 'Only from', kind: 'list', placeholder: '203.0.113.0/24', hint: 'Addresses and prefixes, one a line; none is anywhere', also: ['/condition'] }] },
    ],
    onChange: draw, onSave: send,
  });
  function draw() {
    const value = f.value, some = body(value).policies[0].permission_groups.map(({ id }) => groups.find((one) => one.id === id).name);
    put(what, h('h2', {}, 'What it does'), steps([value.preset === 'all' ? 'Whoever has it may do everything you may.' : value.preset === 'read' ? 'Whoever has it may see everything, and change nothing.' : some.length ? `It may: ${some.join(', ')}.` : 'Nothing: choose what it may.', value.ends === 'never' ? 'It works until somebody deletes it.' : `It ends ${when(body(value).expires_on)}.`, value.from?.length ? `It is good from ${value.from.join(', ')} alone.` : 'It is good from any address that reaches the API.', 'Its text is shown once.']));
  }
  async function send() {
    f.setErrors([], { focus: false, all: false });
    try {
      const made = await api.post(base, body(f.value));
      forget();
      once(made.name, made.value, () => go('/tokens'));
    } catch (error) {
      if (error.errors?.length) f.setErrors(error.errors); else toast(`Not made: ${sentence(error)}`);
    }
  }
  draw();
  watch(f.node, () => !same(f.value, initial));
  setTimeout(() => f.focus(), 0);
  return { title: 'Make a token', crumbs: [['Tokens', '#/tokens']], node: [h('div', {}, h('h1', {}, 'Make a token'), h('p', { class: 'lede' }, 'It may do no more than you may do yourself.')), h('div', { class: 'cols edit' }, h('div', {}, f.node, h('div', { class: 'bottombar' }, h('span', { class: 'grow' }), keepsPlace(button('Make the token', () => f.node.requestSubmit(), 'primary')))), h('aside', { class: 'side', 'aria-label': 'What it does' }, what))] };
}

function show(row) {
  const path = `${row.base}/${row.id}`;
  const act = async (run, said) => { try { await run(); if (said) toast(said); reopen(); } catch (error) { toast(`Not done: ${sentence(error)}`); } };
  const toggled = row.status === 'disabled' ? 'active' : 'disabled';
  const settings = { name: row.name, policies: row.policies.map(({ effect, permission_groups: some, resources }) => ({ effect, permission_groups: some.map(({ id }) => ({ id })), resources })), ...(row.condition ? { condition: row.condition } : {}), ...(row.not_before ? { not_before: row.not_before } : {}), ...(row.expires_on ? { expires_on: row.expires_on } : {}), status: toggled };
  const roll = async () => { if (await confirmed({ title: `Give ${row.name} another text?`, body: h('p', {}, 'The text that it has now is good for nothing at once; whoever uses it gets 401 until they have the new one.'), verb: `Roll ${row.name}` })) act(async () => { const value = await api.put(`${path}/value`, {}); once(row.name, value, () => {}); }); };
  const remove = async () => { if (await confirmed({ title: `Delete ${row.name}?`, body: h('p', {}, row.last_used_on ? `It was last used ${ago(row.last_used_on)}. Whoever uses it gets 401 from now on.` : 'It was never used.'), verb: `Delete ${row.name}`, danger: true })) act(async () => { await api.delete(path); go('/tokens'); }, `${row.name} is deleted`); };
  const facts = [['State', row.status], ['May', row.may], ['Where', row.where], ['Made', `${instant(row.issued_on)}`], ['Last used', row.last_used_on ? instant(row.last_used_on) : 'not yet'], ['Ends', row.expires_on ? instant(row.expires_on) : 'never'], ['Only from', row.condition?.request_ip?.in?.join(', ') || 'any address'], ['Not from', row.condition?.request_ip?.not_in?.join(', ')]].filter(([, text]) => text);
  return { title: row.name, crumbs: [['Tokens', '#/tokens']], node: [h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, h('bdi', {}, row.name)), h('p', { class: 'lede' }, row.status === 'active' ? 'It can be used.' : `It cannot be used: ${row.status}.`)), h('div', { class: 'acts' }, h('a', { class: 'btn', href: href('/audit', { by: row.id }) }, 'What it did'), button(toggled === 'active' ? 'Enable' : 'Disable', () => act(() => api.put(path, settings), toggled === 'active' ? `${row.name} can be used again` : `${row.name} is disabled`)), button('Roll', roll), button('Delete', remove, 'danger'))), h('section', {}, h('dl', { class: 'kv' }, facts.map(([key, text]) => h('div', {}, h('dt', {}, key), h('dd', {}, h('bdi', {}, text))))))] };
}
