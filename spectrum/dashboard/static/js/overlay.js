// What stands over or in a page for a moment: dialogs, a confirmation in place, a word of success, the palette.
import { h, put, $$ } from './dom.js';
import { button } from './states.js';

/** Show a dialog; `actions` are nodes, or {label, kind, run} that close it unless they return false. Returns {node, close}. */
export function dialog({ title, body, actions, wide = false, onClose }) {
  const heading = `dialog-${Date.now()}`;
  const close = () => node.close();
  const buttons = (actions || [{ label: 'Close' }]).map((one) => (one instanceof Node ? one : button(one.label, async () => { if ((await one.run?.()) !== false) close(); }, one.kind)));
  const node = h('dialog', { class: wide ? 'wide' : null, 'aria-labelledby': heading }, h('div', { class: 'dlg' }, h('h2', { id: heading }, title), body, h('div', { class: 'acts' }, buttons)));
  return { node: open(node, onClose), close };
}

function open(node, onClose) {
  node.addEventListener('click', (event) => { if (event.target === node) node.close(); });
  node.addEventListener('close', () => { node.remove(); onClose?.(); });
  document.body.append(node);
  node.showModal();
  return node;
}

/** Ask in a dialog before something is done; resolves to whether it is wanted. `typed` is what is to be typed first. */
export function confirmed({ title, body, verb, keep = 'Back', danger = false, typed = '' }) {
  return new Promise((resolve) => {
    let said = false;
    const go = h('button', { type: 'submit', class: `btn ${danger ? 'danger' : 'primary'}`, disabled: Boolean(typed) }, verb);
    const input = typed ? h('input', { class: 'field', autocomplete: 'off', spellcheck: 'false', oninput: () => { go.disabled = input.value !== typed; } }) : null;
    const form = h('form', { id: 'asked', onsubmit: (event) => { event.preventDefault(); said = true; shown.close(); } }, input && h('label', { class: 'lab' }, h('span', {}, 'Type ', h('b', {}, typed), ' to continue'), input));
    go.setAttribute('form', 'asked');
    const shown = dialog({ title, body: [typeof body === 'string' ? h('p', {}, body) : body, form], actions: [{ label: keep }, go], onClose: () => resolve(said) });
    (input || go).focus();
  });
}

/** Ask in place, below or in front of `node`: what happens then, in words with numbers. Resolves to whether it is wanted. */
export function confirmInPlace(node, { text, verb, keep = 'Keep', danger = false, tag = 'div' }) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const done = (wanted) => { row.remove(); before?.focus?.(); resolve(wanted); };
    const yes = button(verb, () => done(true), danger ? 'danger' : 'primary');
    const inside = [h('p', {}, text), button(keep, () => done(false)), yes];
    const row = tag === 'tr' ? h('tr', {}, h('td', { colspan: 99 }, h('div', { class: 'confirm' }, inside))) : h(tag, { class: 'confirm', role: 'group', 'aria-label': verb }, inside);
    row.addEventListener('keydown', (event) => { if (event.key === 'Escape') { event.stopPropagation(); done(false); } });
    node.after(row);
    yes.focus();
  });
}

/** Say that something is done. */
export function toast(text) {
  for (const one of $$('.toast')) one.remove();
  const node = h('div', { class: 'toast', role: 'status' }, text);
  document.body.append(node);
  setTimeout(() => node.remove(), 3200);
}

// ---- the palette: go somewhere, look something up, do something ----
const sources = [];
const MOST = 40;
const ADDRESS = /^(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f:]*:[0-9a-f:.]*)(?:\/\d+)?$/i;

/** Add to what the palette finds: `find(words)` returns [{label, kind, href or run}], at once or by a promise. */
export const addToPalette = (find) => sources.push(find);

export function palette() {
  if ($$('dialog.pal').length) return;
  let at = 0, hits = [], asked = 0;
  const list = h('ul', { role: 'listbox', id: 'hits', 'aria-label': 'Results' });
  const input = h('input', { type: 'text', role: 'combobox', 'aria-expanded': 'true', 'aria-controls': 'hits', 'aria-label': 'Search or jump', autocomplete: 'off', spellcheck: 'false',
    placeholder: 'Address, app, origin, page, or what to do', oninput: () => search(), onkeydown: key });
  const node = h('dialog', { class: 'pal', 'aria-label': 'Search or jump' }, input, list);
  function draw() {
    put(list, hits.length ? hits.map((one, i) => h('li', { role: 'option', id: `hit-${i}`, 'aria-selected': String(i === at), onclick: () => { at = i; run(); } }, h('bdi', {}, one.label), h('small', {}, one.kind)))
      : h('li', { role: 'option', 'aria-selected': 'false' }, 'Nothing by that name.'));
    input.setAttribute('aria-activedescendant', hits.length ? `hit-${at}` : '');
    list.children[at]?.scrollIntoView({ block: 'nearest' });
  }
  async function search() {
    const mine = ++asked, text = input.value.trim(), words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    if (ADDRESS.test(text)) found.push({ label: text, kind: 'its story', href: `#/clients/${encodeURIComponent(text)}` });
    const show = () => { hits = found.slice(0, MOST); at = Math.min(at, Math.max(0, hits.length - 1)); draw(); };
    at = 0;
    const late = [];
    for (const find of sources) {
      const some = find(words, text);
      if (some?.then) late.push(some.then((more) => { if (mine === asked && node.open) { found.push(...more); show(); } }, () => {}));
      else found.push(...some);
    }
    show();
    await Promise.all(late);
  }
  function run() {
    const one = hits[at];
    node.close();
    if (one?.href) location.hash = one.href.slice(1);
    else one?.run?.();
  }
  function key(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) { event.preventDefault(); at = (at + by + hits.length) % Math.max(1, hits.length); draw(); }
    if (event.key === 'Enter') { event.preventDefault(); run(); }
  }
  open(node);
  search();
  input.focus();
}
export const matches = (words, text) => { const low = text.toLowerCase(); return words.every((word) => low.includes(word)); };
