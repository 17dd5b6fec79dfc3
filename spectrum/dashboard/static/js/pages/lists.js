// Lists of addresses and of autonomous systems, which access rules name; many at once by pasting.
import { h, put } from '../dom.js';
import { api } from '../api.js';
import { ago, capital, count, instant, int } from '../format.js';
import { deleting, editor, objects, sentence } from '../editor.js';
import { confirmed, toast } from '../overlay.js';
import { mayNot, parts } from '../parts.js';
import { go, href } from '../router.js';
import { banner, blank, button } from '../states.js';
import { table } from '../table.js';
import { watch } from '../unsaved.js';

const SHOWN = 500;
const ADDRESS = /^(\d{1,3}(\.\d{1,3}){3}|[0-9a-f]*:[0-9a-f:.]*)(\/\d{1,3})?$/i, SYSTEM = /^(AS)?(\d{1,10})$/i;
const path = (id) => `/accounts/{account}/rules/lists/${id}`;

export default async function lists(ctx) {
  return !ctx.params.id ? all() : ctx.params.id === 'new' ? add() : one(ctx);
}

async function all() {
  const [found, { hidden, rules = [] }] = await Promise.all([objects('lists'), parts({ rules: objects('access_rules') })]);
  const rows = found.map((each) => ({ ...each, kind: each.value.kind, rules: rules.filter((rule) => rule.value.list === each.key) }));
  const shown = table({
    label: 'Lists', rows, onOpen: (row) => go(`/lists/${row.id}`),
    columns: [
      { key: 'name', label: 'List', rank: 1, width: '28%', href: (row) => href(`/lists/${row.id}`), render: (row) => [h('b', {}, h('bdi', {}, row.name)), row.in_file && h('span', { class: 'small quiet' }, '  in the file')] },
      { key: 'kind', label: 'Holds', rank: 2, render: (row) => (row.kind === 'asn' ? 'autonomous systems' : 'addresses and prefixes') },
      { key: 'num_items', label: 'Items', align: 'num', rank: 1, width: '96px', render: (row) => int(row.num_items) },
      { key: 'rules', label: 'Rules that name it', rank: 2, value: (row) => row.rules.length, render: (row) => (row.rules.length ? row.rules.map((rule, i) => [i ? ', ' : '', h('a', { href: `#/access/${rule.id}` }, rule.name)]) : h('span', { class: 'quiet' }, hidden.size ? 'not shown' : 'none')) },
      { key: 'modified_on', label: 'Changed', align: 'num', rank: 4, width: '110px', render: (row) => h('span', { class: 'quiet', title: instant(row.modified_on) }, ago(row.modified_on)) },
    ],
    filter: rows.length > 10 ? { placeholder: 'Filter by name' } : undefined,
    empty: blank('No list yet', 'A list holds addresses or autonomous systems, up to hundreds of thousands; an access rule names it.', h('a', { class: 'btn primary', href: '#/lists/new' }, 'Add a list')),
  });
  return { title: 'Lists', node: [h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, 'Lists'), h('p', { class: 'lede' }, rows.length ? `${capital(count(rows.length, 'list'))} with ${int(rows.reduce((sum, row) => sum + row.num_items, 0))} items.` : 'There is none yet.')), h('div', { class: 'acts' }, h('a', { class: 'btn', href: '#/access' }, 'Access rules'), h('a', { class: 'btn primary', href: '#/lists/new' }, 'Add a list'))), h('section', { class: 'tight' }, shown.node)] };
}

async function add() {
  const made = await editor({
    section: 'lists', noun: 'list', path, scope: () => '/accounts/{account}', collection: () => '/accounts/{account}/rules/lists', initial: { kind: 'ip', name: '' },
    layout: () => ({ without: ['/items', '/account'], sections: [{ title: 'List', fields: [{ key: '/name', label: 'Name', kind: 'text', placeholder: 'scanners', hint: 'Letters, digits and underscores; it stays' }, { key: '/kind', label: 'Holds', kind: 'choice', options: [['ip', 'Addresses and prefixes'], ['asn', 'Autonomous systems']] }, { key: '/description', label: 'What it is', kind: 'text' }] }] }),
    effects: () => ['It is empty, and does nothing until a rule names it.'],
    saved: (result) => go(`/lists/${result.id}`),
  });
  return { title: 'Add a list', crumbs: [['Lists', '#/lists']], node: [h('div', {}, h('h1', {}, 'Add a list'), h('p', { class: 'lede' }, 'What it holds is pasted on the next page.')), made.node] };
}

/** What was pasted: {items, bad: [{line, text}]}. What is behind # or ; is the comment of an item. */
export function pasted(text, kind) {
  const items = new Map(), bad = [];
  text.split('\n').forEach((line, i) => {
    const [bare, ...rest] = line.split(/[#;]/);
    for (const word of bare.split(/[\s,]+/).filter(Boolean)) {
      const system = kind === 'asn' && SYSTEM.exec(word);
      if (kind === 'ip' ? ADDRESS.test(word) : system) items.set(word.toLowerCase(), { [kind]: system ? Number(system[2]) : word.toLowerCase(), ...(rest.join('#').trim() ? { comment: rest.join('#').trim() } : {}), line: i + 1 });
      else bad.push({ line: i + 1, text: word });
    }
  });
  return { items: [...items.values()], bad };
}

async function one({ params, signal }) {
  const [list, { hidden, rules = [] }] = await Promise.all([objects('lists', params.id), parts({ rules: objects('access_rules') })]);
  const { kind } = list.value, isReadonly = list.in_file;
  const users = rules.filter((rule) => rule.value.list === list.key);
  const told = h('p', { class: 'small quiet pad', role: 'status' });
  const items = table({
    label: 'Items', key: (row) => row.id, rows: [],
    columns: [
      { key: 'what', label: kind === 'asn' ? 'Autonomous system' : 'Address or prefix', rank: 1, width: '32%', value: (row) => String(row[kind]), render: (row) => h('b', {}, kind === 'asn' ? `AS${row.asn}` : row.ip) },
      { key: 'comment', label: 'Comment', rank: 1, render: (row) => h('span', { class: 'soft', title: row.comment }, h('bdi', {}, row.comment)) },
      { key: 'modified_on', label: 'Changed', align: 'num', rank: 3, width: '110px', render: (row) => h('span', { class: 'quiet', title: instant(row.modified_on) }, ago(row.modified_on)) },
      ...(isReadonly ? [] : [{ key: 'do', label: '', title: 'Actions', align: 'num', rank: 1, width: '96px', sort: false, render: (row) => h('button', { type: 'button', class: 'mini', onclick: () => remove(row) }, 'Remove', h('span', { class: 'vh' }, ` ${row[kind]}`)) }]),
    ],
    empty: blank('It is empty', 'Paste addresses on this page, and they are added.'),
  });
  const search = h('input', { class: 'field', type: 'search', 'data-filter': true, placeholder: kind === 'asn' ? 'AS64500' : 'Begins with 203.0.113', 'aria-label': 'Search in the list', oninput: () => { clearTimeout(timer); timer = setTimeout(load, 200); } });
  let timer = 0;
  async function load() {
    const { result, info } = await api.ask('GET', `${path(params.id)}/items`, { params: { per_page: SHOWN, search: search.value.trim() }, signal });
    items.setRows(result);
    told.textContent = info?.cursors?.after ? `The first ${int(SHOWN)}${search.value ? ' that match' : ` of ${int(list.num_items)}`} are shown; search finds the others.` : search.value ? `${int(result.length)} match.` : '';
  }
  async function remove(row) {
    try { await api.ask('DELETE', `${path(params.id)}/items`, { body: { items: [{ id: row.id }] } }); toast(`${row[kind]} is removed`); await changed(); } catch (error) { toast(`Not removed: ${sentence(error)}`); }
  }
  async function changed() {
    Object.assign(list, await objects('lists', params.id));
    lead();
    await load();
  }
  const lede = h('p', { class: 'lede' });
  const lead = () => put(lede, `${capital(count(list.num_items, 'item'))}. `, users.length ? ['Named by ', users.map((rule, i) => [i ? ', ' : '', h('a', { href: `#/access/${rule.id}` }, rule.name), ` (${rule.value.action === 'block' ? 'refuses' : 'lets in'})`]), '.'] : hidden.size ? mayNot('access rules') : ['No rule names it: ', h('a', { href: '#/access/new' }, 'add one'), '.']);

  const box = h('textarea', { class: 'field', id: 'paste', rows: 8, spellcheck: 'false', 'aria-describedby': 'paste-h paste-s', placeholder: kind === 'asn' ? 'AS64500   # a hoster' : '203.0.113.0/24   # scanners\n2001:db8::/32', oninput: () => look() });
  const seen = h('div', { id: 'paste-s', role: 'status' });
  const adding = button('Add', () => send(false), 'primary'), replacing = button('Replace all', () => send(true), 'danger');
  function look(faults = []) {
    const { items: found, bad } = pasted(box.value, kind);
    const wrong = [...bad.map((each) => [each.line, `“${each.text.slice(0, 60)}” is no ${kind === 'asn' ? 'AS number' : 'address or prefix'}`]), ...faults];
    adding.textContent = found.length ? `Add ${int(found.length)}` : 'Add';
    adding.disabled = replacing.disabled = !found.length;
    put(seen, found.length > 0 && h('p', { class: 'hint' }, `${capital(count(found.length, kind === 'asn' ? 'system' : 'prefix', kind === 'asn' ? 'systems' : 'prefixes'))}, each once.`), wrong.slice(0, 8).map(([line, text]) => h('p', { class: 'err-line' }, `Line ${line}: ${text}`)), wrong.length > 8 && h('p', { class: 'hint' }, `and ${wrong.length - 8} more lines.`));
    return found;
  }
  async function send(replaces) {
    const found = look();
    if (!found.length) return;
    if (replaces && !await confirmed({ title: `Replace all of ${list.name}?`, body: h('p', {}, `${int(list.num_items)} items go, ${int(found.length)} take their place.${users.length ? ` ${users.length === 1 ? 'The rule goes' : 'The rules go'} by them at once.` : ''}`), verb: `Replace ${int(list.num_items)}`, danger: true })) return;
    try {
      await api[replaces ? 'put' : 'post'](`${path(params.id)}/items`, found.map(({ line, ...item }) => item));
      toast(`${int(found.length)} ${replaces ? 'are all of it now' : 'are in it'}`);
      box.value = '';
      look();
      await changed();
    } catch (error) {
      const faults = (error.errors || []).map((fault) => { const at = /^\/(\d+)/.exec(fault.pointer || ''); return [at ? found[Number(at[1])].line : 1, `${fault.message} (${fault.code})`]; });
      if (faults.length) look(faults); else toast(`Not added: ${sentence(error)}`);
    }
  }
  lead();
  look();
  watch(box, () => box.value.trim() !== '');
  await load();
  const about = isReadonly ? banner('idle', h('b', {}, 'This list stands in the file. '), 'It is changed there: ', h('span', { class: 'mono' }, `${list.path || 'the file'}${list.line ? `, line ${list.line}` : ''}`), '.') : null;
  const paste = isReadonly ? null : h('section', {}, h('div', { class: 'sec' }, h('h2', {}, 'Paste')), h('div', { class: 'pastebox' }, h('label', { class: 'lab', for: 'paste' }, kind === 'asn' ? 'Autonomous systems' : 'Addresses and prefixes'), box, h('p', { class: 'hint', id: 'paste-h' }, 'One a line, or with commas; what is behind # becomes the comment'), seen, h('div', { class: 'acts' }, adding, list.num_items > 0 && replacing)));
  return {
    title: list.name, crumbs: [['Lists', '#/lists']],
    node: [
      h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, h('bdi', {}, list.name)), lede), h('div', { class: 'acts' }, !isReadonly && deleting({ noun: 'list', name: list.name, path: path(params.id), effects: () => [`${int(list.num_items)} items are gone.`, ...(users.length ? [`It is refused: ${count(users.length, 'rule')} ${users.length === 1 ? 'names' : 'name'} it.`] : [])], done: () => go('/lists') }))),
      about,
      h('div', { class: 'cols' }, h('section', {}, h('div', { class: 'sec' }, h('h2', { class: 'grow' }, 'Items'), h('div', { class: 'findbox' }, search)), items.node, told), paste),
    ].filter(Boolean),
  };
}
