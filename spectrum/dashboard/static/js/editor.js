// The editor of one object: its form, what stands in the file before and after, what that does, and two who edit at once.
import { h, put } from './dom.js';
import { api } from './api.js';
import { form, same } from './form.js';
import { sectionsOf } from './schema.js';
import { diff, yaml } from './diff.js';
import { mark } from './marks.js';
import { confirmed, dialog, toast } from './overlay.js';
import { banner, button } from './states.js';
import { forget, watch } from './unsaved.js';

const PAUSE_MS = 250;
const STAMPS = new Set(['id', 'created_on', 'modified_on']);

/** Those of a section with a value of a key; there may be thousands of others. */
export const objectsWith = (section, key, equals) => api.get(`/accounts/{account}/spectrum/objects/${section}`, { key, equals });
/** All objects of a section as they stand in the file, or one. */
export const objects = (section, id = '') => api.get(`/accounts/{account}/spectrum/objects/${section}${id && `/${id}`}`);

// What differs at the top of two bodies: the new values, null for what is gone.
export function changesOf(before, after) {
  const keys = new Set([...Object.keys(before), ...Object.keys(after)].filter((key) => !STAMPS.has(key)));
  return Object.fromEntries([...keys].filter((key) => !same(before[key], after[key])).map((key) => [key, after[key] ?? null]));
}

const asYaml = (key, value) => (value ? yaml({ [key]: value }) : '');

function sentence(error) {
  return error?.errors?.length ? error.errors.map((one) => one.message).join('; ') : String(error?.text || error?.message || error);
}

export async function copy(words, what) {
  try {
    await navigator.clipboard.writeText(words);
    toast(`${what} is copied`);
  } catch {
    toast('The browser does not let pages copy; select the text instead');
  }
}

/** Have a button pressed where it is: what is said of a field when that is left would move it under the pointer. */
export const keepsPlace = (one) => { one.addEventListener('mousedown', (event) => event.preventDefault()); return one; };

// Each line of what a change does: a number, and words or nodes.
const steps = (lines) => h('ol', { class: 'steps' }, lines.map((line, i) => h('li', {}, h('span', {}, String(i + 1)), h('span', {}, line))));

/* The editor. `spec`:
   section, noun, id (none makes one), name, path(id) of the API, scope(value): where it is made, layout(facts): sections,
   initial: of a new one, facts: what `layout` and `effects` need, canEdit,
   effects({before, after, changes}): lines, isPut: PUT in place of PATCH, before(value): resolves before it is made,
   saved(result, isNew): where to go then. */
export async function editor(spec) {
  const isNew = !spec.id;
  const [schema, first] = await Promise.all([api.get(`/spectrum/schemas/${spec.section}`), isNew ? null : objects(spec.section, spec.id)]);
  const stands = first;
  const isReadonly = Boolean(stands?.in_file) || spec.canEdit === false;
  const key = () => stands?.key || spec.name;
  // An object of the file that belongs to no zone has no address in the API: it is shown as the file has it, by names.
  const where = isNew ? '' : spec.path(spec.id);
  const original = isNew ? {} : where ? await api.get(where) : stands.value;
  const layout = spec.layout({ ...spec.facts, isNew, byName: !isNew && !where, stands });
  const sections = sectionsOf(schema, layout.sections || layout, { without: layout.without || [] });

  const notice = !isReadonly ? null : stands?.in_file
    ? h('div', { class: 'banner', role: 'status' }, mark('idle'), h('p', {}, h('b', {}, `This ${spec.noun} stands in the file. `), 'It is changed there: ', h('span', { class: 'mono' }, `${stands.path || 'the file'}${stands.line ? `, line ${stands.line}` : ''}`), '.'), button('Copy YAML', () => copy(asYaml(key(), stands.value), 'The YAML')))
    : banner('idle', 'Your token may read this, and not change it.');
  const what = h('div');
  const does = h('div');
  const sum = h('p', { class: 'grow', role: 'status' });
  const save = h('button', { type: 'button', class: 'btn primary', onclick: () => review() }, isNew ? `Review and add` : 'Review and save');
  const discard = h('button', { type: 'button', class: 'btn', onclick: () => { f.replace(structuredClone(isNew ? spec.initial || {} : original)); f.setErrors([], { all: false }); } }, 'Discard');
  for (const one of [save, discard]) keepsPlace(one);
  let timer = 0;
  let turn = 0;
  let seen = null;
  let faults = [];
  let isDirty = false;

  const f = form({ sections, value: isNew ? spec.initial || {} : original, readonly: isReadonly, label: spec.noun, onSave: () => review(), onChange: changed });

  function body() {
    const value = spec.tidy ? spec.tidy(f.value) : f.value;
    return isNew ? value : changesOf(original, value);
  }

  function changed() {
    clearTimeout(timer);
    timer = setTimeout(() => look(false), PAUSE_MS);
    count();
  }

  function count() {
    const n = isNew ? 1 : Object.keys(body()).length;
    isDirty = isNew ? !same(f.value, spec.initial || {}) : n > 0;
    const shown = f.faults.length && sum.dataset.all === 'yes';
    const names = f.names();
    const to = stands?.revision ? ` to revision ${stands.revision}` : '';
    put(sum, shown ? h('span', { class: 'st failed' }, mark('failed'), `${names.length || 1} ${names.length > 1 ? 'fields' : 'field'} to mend: ${(names.join(', ') || 'see above').toLowerCase()}`)
      : isNew ? (isDirty ? `A new ${spec.noun}` : 'Nothing is filled in yet') : n ? `${n} ${n > 1 ? 'changes' : 'change'}${to}` : 'No change',
    !shown && seen?.before && stands && !same(seen.before, stands.value) ? h('span', { class: 't-degraded' }, '. Somebody else has changed it meanwhile.') : null);
    discard.disabled = !isDirty;
  }

  // Has the API check what would be; the faults stand at their fields, those that nobody has left yet are not shown.
  async function look(all) {
    const mine = ++turn;
    const asked = body();
    if (!isNew && !Object.keys(asked).length) {
      seen = { key: key(), before: stands.value, after: stands.value };
      faults = [];
    } else {
      try {
        const found = await api.post(`${spec.scope(f.value)}/spectrum/objects/${spec.section}/preview${isNew ? '' : `?id=${spec.id}`}`, asked);
        if (mine !== turn) return false;
        seen = found;
        faults = [];
      } catch (error) {
        if (mine !== turn) return false;
        if (error.status === 403) faults = [{ pointer: '', message: 'Your token may read this, and not change it.', code: error.errors[0]?.code }];
        else if (!error.errors || error.status >= 500) faults = [{ pointer: '', message: sentence(error), code: '' }];
        else faults = error.errors;
      }
    }
    faults = spec.mend ? faults.map((fault) => ({ ...fault, fix: spec.mend(fault, f.value) })) : faults;
    if (all) sum.dataset.all = 'yes';
    f.setErrors(faults, { focus: all, all });
    draw();
    count();
    return !faults.length;
  }

  function lines() {
    if (faults.length) return [isNew && same(f.value, spec.initial || {}) ? 'Nothing yet: the form is not filled in.' : 'Nothing yet: there is something to mend.'];
    if (!seen || (!isNew && same(seen.before, seen.after))) return [isNew ? 'Nothing yet.' : 'Nothing changes.'];
    return spec.effects({ before: seen.before, after: seen.after, isNew, changes: changesOf(seen.before || {}, seen.after || {}), stands });
  }

  function draw() {
    const texts = seen ? [asYaml(seen.key, seen.before), asYaml(seen.key, seen.after)] : stands ? [asYaml(key(), stands.value), asYaml(key(), stands.value)] : ['', ''];
    put(what, h('div', { class: 'sec' }, h('h2', { class: 'grow' }, isReadonly ? 'In the file' : isNew ? 'What is added' : 'What changes'), texts[1] && !notice ? h('button', { type: 'button', class: 'mini', onclick: () => copy(texts[1], 'The YAML') }, 'Copy YAML') : null),
      texts[1] ? diff(...texts, { whole: texts[1].split('\n').length < 60 }) : h('p', { class: 'quiet' }, 'It is shown here as the file would have it.'));
    put(does, isReadonly ? null : [h('h2', {}, 'What it does'), steps(lines())]);
  }

  async function review() {
    clearTimeout(timer);
    if (isReadonly || (!isNew && !Object.keys(body()).length)) return;
    if (!await look(true)) return;
    const sure = h('button', { type: 'button', class: 'btn primary', onclick: () => { shown.close(); send(); } }, isNew ? `Add ${seen.name || seen.key}` : `Save ${seen.name || seen.key}`);
    const shown = dialog({
      title: isNew ? `Add ${spec.noun} ${seen.name || seen.key}?` : `Save ${seen.name || seen.key}?`,
      wide: true,
      body: [diff(asYaml(seen.key, seen.before), asYaml(seen.key, seen.after), { label: 'What is saved' }), steps(lines())],
      actions: [{ label: 'Back' }, sure],
    });
    sure.focus();
  }

  async function send(revision = stands?.revision) {
    save.disabled = true;
    const began = performance.now();
    try {
      const asked = body();
      if (isNew && spec.before) await spec.before(f.value);
      const options = revision ? { revision: `"${revision}"` } : {};
      const result = isNew ? await api.post(spec.collection(spec.scope(f.value)), asked) : await api[spec.isPut ? 'put' : 'patch'](spec.path(spec.id), asked, options);
      isDirty = false;
      toast(isNew ? `${seen.name || seen.key} is live, after ${Math.round(performance.now() - began)} ms` : `Saved, and live after ${Math.round(performance.now() - began)} ms`);
      spec.saved(result, isNew);
    } catch (error) {
      if (error.status === 412) await conflict();
      else if (error.status === 400) {
        faults = error.errors;
        sum.dataset.all = 'yes';
        f.setErrors(faults);
        count();
      } else toast(`Not saved: ${sentence(error)}`);
    } finally {
      save.disabled = false;
    }
  }

  // Somebody else has saved since this page was opened.
  async function conflict() {
    const theirs = await objects(spec.section, spec.id).catch(() => null);
    if (!theirs) {
      toast(`${spec.noun} ${key()} was deleted meanwhile`);
      return;
    }
    const base = stands.value;
    const wanted = changesOf(seen.before, seen.after), ours = Object.keys(wanted);
    const mine = Object.fromEntries(Object.entries({ ...base, ...wanted }).filter(([, one]) => one !== null));
    const both = ours.filter((name) => name in changesOf(base, theirs.value));
    const column = (title, value) => h('section', {}, h('h3', {}, title), diff(asYaml(key(), base), asYaml(key(), value), { label: title }));
    dialog({
      title: `${key()} was changed meanwhile`,
      wide: true,
      body: [
        h('p', {}, both.length ? ['Both changed ', both.map((name, i) => [i ? ', ' : '', h('span', { class: 'mono' }, name)]), '. To save yours puts it over theirs; all else of theirs stays.'] : 'You changed different things: to save yours keeps theirs.'),
        h('div', { class: 'versions' }, column('Yours', mine), column('Theirs', theirs.value), h('section', {}, h('h3', {}, 'Before'), diff(asYaml(key(), base), asYaml(key(), base), { whole: true, label: 'Before' }))),
      ],
      actions: [
        { label: 'Back' },
        { label: 'Take theirs', run: () => { isDirty = false; spec.saved(null, false); } },
        { label: both.length ? 'Save mine over it' : 'Save mine as well', kind: 'primary', run: () => void send(theirs.revision) },
      ],
    });
  }

  const bar = isReadonly ? null : h('div', { class: 'bottombar' }, sum, discard, save);
  const side = h('aside', { class: 'side', 'aria-label': 'What changes' }, what, does);
  const node = h('div', { class: 'stack' }, notice, h('div', { class: 'cols edit' }, h('div', {}, f.node, bar), side));
  if (!isNew) seen = { key: key(), before: stands.value, after: stands.value };
  draw();
  count();
  watch(node, () => isDirty);
  if (isNew && spec.initial) look(false);
  return { node, form: f, stands, isReadonly, get isDirty() { return isDirty; } };
}

/** A button that deletes an object, when it has been said what that does. */
export function deleting({ noun, name, path, effects, typed, done }) {
  return button('Delete', async () => {
    const lines = (await effects?.()) || [];
    if (!await confirmed({ title: `Delete ${noun} ${name}?`, body: lines.length ? steps(lines) : h('p', {}, 'It is gone at once.'), verb: `Delete ${name}`, danger: true, typed: typed?.() || '' })) return;
    try {
      await api.delete(path);
      toast(`${name} is deleted`);
      forget();
      done();
    } catch (error) {
      toast(`Not deleted: ${sentence(error)}`);
    }
  }, 'danger');
}

export { sentence, steps };
