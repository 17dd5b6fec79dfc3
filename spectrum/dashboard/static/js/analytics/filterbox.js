// The filters as chips, and a field to type one, which completes dimensions and their values.

import { foreign, h, put } from '../dom.js';
import { si } from '../format.js';
import { ask } from './ask.js';
import { dimension, dimensions, metric, valueLabel } from './catalogue.js';
import { flipped, isNegative, matching, opWords, parseTyped, without } from './filters.js';

const MOST = 12;
const VALUES = 50;
const PAUSE_MS = 120;

/** Chips and field. Options: table(), filters(), base() (the question's range), change(filters), add(filter). Returns {node, draw}. */
export function filterBox({ table, filters, base, change, add }) {
  const chips = h('div', { class: 'chips' }), list = h('ul', { id: 'filter-options', role: 'listbox', 'aria-label': 'Filters', hidden: true });
  const fault = h('p', { class: 'fault small t-failed', role: 'status' });
  const input = h('input', { class: 'field', type: 'text', role: 'combobox', 'aria-label': 'Filter', 'aria-expanded': 'false', 'aria-controls': 'filter-options', 'aria-autocomplete': 'list', autocomplete: 'off', spellcheck: 'false',
    placeholder: 'Filter: app, reason, 203.0.113.7', 'data-filter': true, oninput: () => complete(), onkeydown: key, onfocus: () => complete(), onblur: () => setTimeout(hide, 100) });
  const field = h('div', { class: 'typed' }, input, h('kbd', { class: 'kbd', 'aria-hidden': 'true' }, '/'), list);
  const node = h('div', { class: 'filters' }, chips, fault);
  let options = [], at = -1, timer = 0, asked = 0, known = { key: '', values: [] };

  function draw() {
    const all = filters(), focused = document.activeElement === input;
    put(chips, all.map((one, i) => chip(one, i)), field, all.length > 1 && h('button', { class: 'btn bare', type: 'button', onclick: () => change([]) }, 'Clear'));
    if (focused) input.focus();
  }

  function chip(filter, i) {
    const name = dimension(table(), filter.dimension).label, negative = isNegative(filter);
    const values = filter.values.map((one) => valueLabel(filter.dimension, one));
    const text = values.length > 3 ? `${values.slice(0, 3).join(' or ')} or ${values.length - 3} more` : values.join(' or ');
    const flip = flipped([filter], 0)[0];
    return h('span', { class: `chip ${negative ? 'not' : ''}` },
      h('button', { type: 'button', title: `Change to “${opWords(flip.op)}”`, onclick: () => change(flipped(filters(), i)) },
        h('span', { class: 'quiet' }, name), negative ? h('b', {}, opWords(filter.op)) : h('span', { class: 'quiet' }, opWords(filter.op)), h('b', { title: values.join(', ') }, foreign(text))),
      h('button', { class: 'x', type: 'button', 'aria-label': `× Remove the filter ${name} ${opWords(filter.op)} ${text}`, onclick: () => change(without(filters(), i)) }, '×'));
  }

  function complete() {
    put(fault);
    clearTimeout(timer);
    const text = input.value, parsed = text.trim() ? parseTyped(text, dimensions(table()), client()) : {};
    if (parsed.dimension && !isAddressAlone(text)) {
      const typed = String(parsed.values?.at(-1) ?? '').toLowerCase();
      const show = () => offer(known.values.filter((one) => one.label.toLowerCase().includes(typed)).map((one) => ({ ...one, run: () => take({ ...parsed, op: parsed.op || '=', values: [...(parsed.values || []).slice(0, -1), one.value] }) })));
      if (known.key === parsed.dimension) show();
      else { offer([]); timer = setTimeout(async () => { await learn(parsed.dimension); if (document.activeElement === input) complete(); }, PAUSE_MS); }
      return;
    }
    offer(parsed.values ? [] : matching(text, dimensions(table())).map((one) => ({ label: one.label, detail: '', run: () => { input.value = `${text.trim().startsWith('-') ? '-' : ''}${one.label} `; complete(); } })));
  }
  const client = () => (table() === 'packets' ? 'source_ip' : 'client_ip');
  const isAddressAlone = (text) => /^[\d.:a-f/]+$/i.test(text.trim()) && /[.:]/.test(text);

  // The most frequent values of a dimension in this range.
  async function learn(key) {
    const mine = ++asked, found = metric(table() === 'packets' ? 'packets' : 'sessions');
    try {
      const answer = await ask({ ...base(), table: table(), filter: filters().filter((one) => one.dimension !== key), metrics: [found.name], dimensions: [key], limit: VALUES });
      if (mine === asked) known = { key, values: answer.rows.map(([value, amount]) => ({ value, label: valueLabel(key, value), detail: si(amount) })) };
    } catch {
      known = { key, values: [] }; // a value can be typed all the same
    }
  }

  function offer(some) {
    options = some.slice(0, MOST);
    at = -1;
    put(list, options.map((one, i) => h('li', { role: 'option', id: `filter-option-${i}`, 'aria-selected': 'false', onpointerdown: (event) => { event.preventDefault(); one.run(); } }, foreign(one.label), h('small', {}, one.detail))));
    list.hidden = !options.length || document.activeElement !== input;
    input.setAttribute('aria-expanded', String(!list.hidden));
    input.removeAttribute('aria-activedescendant');
  }
  function hide() { if (document.activeElement !== input) { list.hidden = true; input.setAttribute('aria-expanded', 'false'); } }

  function move(by) {
    if (!options.length) return;
    at = (at + by + options.length + (at < 0 && by < 0 ? 1 : 0)) % options.length;
    [...list.children].forEach((one, i) => one.setAttribute('aria-selected', String(i === at)));
    input.setAttribute('aria-activedescendant', `filter-option-${at}`);
    list.children[at].scrollIntoView({ block: 'nearest' });
  }

  function take(filter) {
    input.value = '';
    known = { key: '', values: [] };
    offer([]);
    add(filter);
    input.focus();
  }

  function key(event) {
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') { event.preventDefault(); move(event.key === 'ArrowDown' ? 1 : -1); }
    else if (event.key === 'Tab' && at < 0 && options.length && input.value.trim() && !event.shiftKey) { event.preventDefault(); options[0].run(); }
    else if (event.key === 'Enter') { event.preventDefault(); if (at >= 0) options[at].run(); else enter(); }
    else if (event.key === 'Backspace' && !input.value && filters().length) change(without(filters(), filters().length - 1));
    else if (event.key === 'Escape' && !list.hidden) { event.stopPropagation(); list.hidden = true; input.setAttribute('aria-expanded', 'false'); }
  }

  function enter() {
    if (!input.value.trim()) return;
    const parsed = parseTyped(input.value, dimensions(table()), client());
    if (parsed.values) take(parsed);
    else put(fault, parsed.error || `Which ${dimension(table(), parsed.dimension).label}? Type a value, such as ${example(parsed.dimension)}.`);
  }
  const example = (key) => { const one = dimension(table(), key); return `“${one.label} ${known.values[0]?.label || (one.address ? '203.0.113.7' : one.number ? '443' : 'NAME')}”`; };

  draw();
  return { node, draw };
}
