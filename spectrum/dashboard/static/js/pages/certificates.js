// Certificates: when they end, which apps have them, and where they come from.
import { h } from '../dom.js';
import { api } from '../api.js';
import { capital, count, dur, instant, when } from '../format.js';
import { linkTo } from '../links.js';
import { mark } from '../marks.js';
import { go } from '../router.js';
import { blank, banner } from '../states.js';
import { table } from '../table.js';

const adding = () => h('a', { class: 'btn primary', href: '#/certificates/new' }, 'Add a certificate');
// As the finding `certificate_ends`.
const SOON_S = 21 * 86400;

const from = (row) => (row.order ? (row.order.ordering ? 'ACME, ordering' : 'ACME') : row.in_file ? 'a file' : 'the API');

export default async function certificates() {
  const found = await api.get('/accounts/{account}/spectrum/certificates');
  const now = Date.now() / 1000;
  const rows = found.map((one) => {
    const left = one.ends_at - now, failed = one.order?.failures > 0;
    const state = one.temporary ? 'degraded' : left < 0 ? 'failed' : left < SOON_S || failed ? 'degraded' : 'ok';
    const note = one.temporary ? 'not issued yet' : left < 0 ? `ended ${dur(-left)} ago` : left < SOON_S ? `ends in ${dur(left)}` : failed ? 'its renewal fails' : '';
    return { ...one, state, note, left };
  });
  const ill = rows.filter((row) => row.note);
  const shown = table({
    label: 'Certificates', rows, key: (row) => row.id, onOpen: (row) => go(linkTo('certificates', row.id)), first: (row) => ({ failed: 0, degraded: 1 })[row.state] ?? 2, order: { key: 'left' },
    columns: [
      { key: 'state', label: '', title: 'State', rank: 1, width: '36px', sort: false, render: (row) => mark(row.state, row.state === 'ok' ? null : row.state) },
      { key: 'name', label: 'Certificate', rank: 1, width: '24%', href: (row) => linkTo('certificates', row.id), render: (row) => [h('b', {}, h('bdi', {}, row.name)), row.note && h('span', { class: `small t-${row.state}` }, `  ${row.note}`)] },
      { key: 'names', label: 'For', rank: 2, value: (row) => row.names[0] || '', render: (row) => h('span', { class: 'soft', title: row.names.join(', ') }, h('bdi', {}, row.names.join(', '))) },
      { key: 'left', label: 'Ends', align: 'num', rank: 1, width: '130px', render: (row) => h('span', { title: row.ends_at ? instant(row.ends_at) : '' }, row.ends_at ? when(row.ends_at) : '–') },
      { key: 'from', label: 'Comes from', rank: 3, width: '130px', value: from, render: (row) => h('span', { class: 'soft' }, from(row)) },
      { key: 'used_by', label: 'Apps', rank: 3, value: (row) => row.used_by.length, render: (row) => h('span', { class: 'soft', title: row.used_by.join(', ') }, row.used_by.length ? row.used_by.join(', ') : 'none by name') },
    ],
    filter: rows.length > 10 ? { placeholder: 'Filter by name', text: (row) => `${row.name} ${row.names.join(' ')}` } : undefined,
    empty: blank('No certificate yet', 'Send one with its private key, or name it in the file: as two files in PEM form, or as names that a certificate authority is asked for (ACME). Apps with TLS take the one that fits the name a client asks for.', adding()),
  });
  const failing = rows.filter((row) => row.order?.failure);
  const title = ill.length ? `${capital(count(ill.length, 'certificate'))} need${ill.length === 1 ? 's' : ''} attention` : 'Certificates';
  return {
    title: 'Certificates',
    node: [
      h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, title), h('p', { class: 'lede' }, rows.length ? (ill.length ? ill.slice(0, 3).map((row, i) => [i ? '; ' : '', h('b', {}, h('bdi', {}, row.name)), ` ${row.note}`]).concat('.') : `${capital(count(rows.length, 'certificate'))}; the first one ends ${when(Math.min(...rows.map((row) => row.ends_at)))}.`) : 'There is none yet.')), h('div', { class: 'acts' }, adding())),
      ...failing.map((row) => banner('degraded', h('b', {}, h('bdi', {}, row.name)), ` is not renewed: ${row.order.failure}.`, row.order.try_at ? ` The next attempt is ${when(row.order.try_at)}.` : '')),
      h('section', { class: 'tight' }, shown.node),
      h('p', { class: 'small quiet' }, 'Keys are never shown. Files are read again when they change, without a reload.'),
    ],
  };
}
