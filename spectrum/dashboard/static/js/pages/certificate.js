// One certificate: what is in it and which apps have it; sent with its key, replaced, deleted. No call gives a key back.
import { h } from '../dom.js';
import { api } from '../api.js';
import { capital, count, dur, instant, int, when } from '../format.js';
import { form, same } from '../form.js';
import { deleting, keepsPlace, objects, sentence, steps } from '../editor.js';
import { linkTo } from '../links.js';
import { toast } from '../overlay.js';
import { mayNot, parts } from '../parts.js';
import { go, open as reopen } from '../router.js';
import { banner, button } from '../states.js';
import { forget, watch } from '../unsaved.js';

const BACK = [['Certificates', '#/certificates']];
const KEY = /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----[^]*?-----END (?:[A-Z]+ )?PRIVATE KEY-----\s*/;
// RFC 5480, RFC 8017, RFC 8410: what kinds of keys are called, by their object identifiers.
const KINDS = { '1.2.840.10045.2.1': 'elliptic curve', '1.2.840.113549.1.1.1': 'RSA', '1.3.101.112': 'Ed25519', '1.3.101.113': 'Ed448' };
const FILES = '.pem,.crt,.cer,.key,.txt';
const UNSHOWN = 'The key is sealed as it comes: no page, answer or export shows it again.';
const path = (zone, id = '') => `/zones/${zone}/custom_certificates${id && `/${id}`}`;
// One that is ordered.
const pack = (zone, id) => `/zones/${zone}/ssl/certificate_packs/${id}`;
const hasTls = (app) => app.value.tls && app.value.tls !== 'off';
const chooses = (app) => hasTls(app) && ![].concat(app.value.edge_tls?.certificates ?? []).length;

export default async function certificate({ params }) {
  return params.id === 'new' ? add() : show(params.id);
}

// What was pasted as the chain: a file with both has the key, too.
function withChain(value, text) {
  const key = KEY.exec(text || '')?.[0].trim(), chain = key ? text.replace(KEY, '') : text;
  return { ...value, certificate: chain || undefined, ...(key ? { private_key: key } : {}) };
}

const fields = (keyHint) => [
  { key: '/certificate', label: 'Certificate and chain', kind: 'file', accept: FILES, placeholder: '-----BEGIN CERTIFICATE-----', hint: 'In PEM form, the certificate itself first; a file that has the key, too, fills both', set: withChain },
  { key: '/private_key', label: 'Private key', kind: 'file', accept: FILES, placeholder: '-----BEGIN PRIVATE KEY-----', hint: keyHint },
];

/** The form of a certificate: what it does beside it. `send(value)` resolves to what is made of it. */
function sending({ sections, value = {}, verb, does, send, label }) {
  const go_ = keepsPlace(button(verb, () => f.node.requestSubmit(), 'primary'));
  const f = form({ label, sections, value, onSave: async () => {
    go_.disabled = true;
    f.setErrors([], { focus: false, all: false });
    try {
      await send(f.value);
    } catch (error) {
      if (error.errors?.length) f.setErrors(error.errors); else toast(`Not sent: ${sentence(error)}`);
    } finally {
      go_.disabled = false;
    }
  } });
  watch(f.node, () => !same(f.value, value));
  return h('div', { class: 'cols edit' }, h('div', {}, f.node, h('div', { class: 'bottombar' }, h('span', { class: 'grow' }), go_)), h('aside', { class: 'side', 'aria-label': 'What it does' }, h('h2', {}, 'What it does'), steps([...does, UNSHOWN])));
}

// Where there is no zone yet, the one that is written is made.
async function zoneOf(value) {
  const known = api.ownZones.find((one) => one.id === value.zone || one.name === value.zone);
  if (known || !value.zone) return known?.id ?? '';
  const made = await api.post('/zones', { name: value.zone, account: { id: api.account.id } });
  api.zones.push(made);
  return made.id;
}

async function add() {
  const zones = api.ownZones;
  const zone = zones.length ? { key: '/zone', label: 'Zone', kind: 'select', options: zones.map((one) => [one.id, one.name]), hint: 'At least one of its names is in it' }
    : { key: '/zone', label: 'Zone', kind: 'text', placeholder: 'example.com', hint: 'The domain that its names are in; it is made with the certificate' };
  const node = sending({
    label: 'Certificate', verb: 'Add the certificate', value: zones.length ? { zone: zones[0].id } : {},
    sections: [{ title: 'Certificate', fields: [zone, ...fields('Without a passphrase')] }],
    does: ['Apps with TLS that name no certificate serve it to clients that ask for one of its names.', 'Others serve it when they name it.'],
    send: async ({ zone: where, ...body }) => {
      const made = await api.post(path(await zoneOf({ zone: where })), body);
      forget();
      toast(`The certificate for ${made.hosts[0]} is live`);
      go(`/certificates/${made.id}`);
    },
  });
  return { title: 'Add a certificate', crumbs: BACK, node: [h('div', {}, h('h1', {}, 'Add a certificate'), h('p', { class: 'lede' }, 'Paste it and its private key, choose their files, or drop them here.')), node] };
}

const again = (where) => button('Order again', async () => {
  try {
    await api.patch(where, {});
    toast('It is ordered again');
    reopen();
  } catch (error) {
    toast(`Not ordered: ${sentence(error)}`);
  }
});

function users(row, apps, hidden) {
  const named = row.used_by.map((key) => [key, apps.find((app) => app.key === key)]), free = apps.filter(chooses).length;
  return [named.map(([key, app], i) => [i ? ', ' : '', app ? h('a', { href: linkTo('apps', app.id) }, h('bdi', {}, app.name)) : h('bdi', {}, key)]),
    named.length ? '. ' : 'None names it. ',
    hidden.has('apps') ? mayNot('apps') : free ? `${capital(count(free, 'app'))} with TLS ${free === 1 ? 'names' : 'name'} no certificate, and ${free === 1 ? 'serves' : 'serve'} each to whom it fits.` : ''];
}

async function show(id) {
  const { hidden, served = [], apps = [] } = await parts({ served: api.get('/accounts/{account}/spectrum/certificates'), apps: objects('apps') });
  const row = served.find((one) => one.id === id);
  if (!row) throw Object.assign(new Error(), { text: hidden.has('served') ? mayNot('certificates') : 'There is no such certificate: it was deleted.' });
  const where = row.zone_id && (row.order ? pack : path)(row.zone_id, id), isStored = where && !row.in_file, isSent = isStored && !row.order;
  const told = where && !row.order ? await api.get(where) : {};
  const left = row.ends_at - Date.now() / 1000, zone = api.zones.find((one) => one.id === row.zone_id);
  const facts = [
    ['For', row.names.join(', ')], ['Ends', row.ends_at ? instant(row.ends_at) : ''], ['Issued by', told.issuer ?? row.issuer], ['Signed by', told.signature], ['Kind of key', KINDS[row.key] ?? row.key],
    ['Zone', zone?.name], ['Sent', told.uploaded_on && isSent ? instant(told.uploaded_on) : ''], ['Replaced', isSent && told.modified_on !== told.uploaded_on ? instant(told.modified_on) : ''],
    ['Comes from', row.order ? (isStored ? 'ACME, ordered by the API' : 'ACME') : isSent ? 'the API' : 'files'], ['Apps', users(row, apps, hidden)],
  ].filter(([, text]) => text);
  const lede = row.temporary ? 'It is not issued yet; a temporary one is served.' : `${left < 0 ? `It ended ${dur(-left)} ago` : `It ends in ${dur(left)}`}, and is for ${row.names.length > 3 ? `${row.names.slice(0, 3).join(', ')} and ${int(row.names.length - 3)} more` : row.names.join(', ') || 'no name'}.`;
  const replacing = isSent && sending({
    label: 'Another certificate', verb: 'Replace the certificate',
    sections: [{ title: 'Replace it', fields: fields('Nothing where the new one has the same key') }],
    does: ['New sessions get the new certificate when the answer comes; open ones go on.', 'Apps that name it keep it.'],
    send: async (body) => {
      if (!Object.keys(body).length) return void toast('Nothing is filled in yet');
      await api.patch(where, body, { revision: `"${row.revision}"` });
      forget();
      toast(`${row.name} is replaced`);
      reopen();
    },
  });
  return {
    title: row.name, crumbs: BACK,
    node: [
      h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, h('bdi', {}, row.name)), h('p', { class: 'lede' }, h('bdi', {}, lede))), h('div', { class: 'acts' }, isStored && row.order?.failures > 0 && again(where), isStored && deleting({
        noun: 'certificate', name: row.name, path: where, done: () => go('/certificates'),
        effects: () => (row.used_by.length ? [`It is refused: ${count(row.used_by.length, 'app')} ${row.used_by.length === 1 ? 'names' : 'name'} it.`] : ['Clients that ask for its names get another certificate, or none.', row.order ? 'Its key is gone, too. The authority is not asked to revoke it.' : 'Its key is gone, too: only whoever has it can send it again.']),
      }))),
      row.order?.failures > 0 && banner('degraded', `The latest order failed: ${row.order.failure}.`, row.order.try_at ? ` The next attempt is ${when(row.order.try_at)}.` : ''),
      !isStored && banner('idle', h('b', {}, 'This certificate stands in the file. '), row.order ? 'It is ordered by ACME.' : 'Its files are read again when they change.'),
      h('section', {}, h('dl', { class: 'kv' }, facts.map(([key, text]) => h('div', {}, h('dt', {}, key), h('dd', {}, typeof text === 'string' ? h('bdi', {}, text) : text))))),
      replacing,
    ].filter(Boolean),
  };
}
