// The keyboard. Single keys can be turned off (WCAG 2.1.4); Ctrl K stays.
import { h, $ } from './dom.js';
import { dialog, palette } from './overlay.js';
import { go } from './router.js';
import { stepRow } from './table.js';
import { shift, zoomOut } from './time.js';
import { live } from './live.js';

const SECOND_KEY_MS = 900;
const isMac = /Mac|iPhone|iPad/.test(navigator.platform);
export const PALETTE_KEY = isMac ? '⌘K' : 'Ctrl K';
const PAGES = { o: '/', a: '/analytics', s: '/sessions', c: '/clients', r: '/report', p: '/apps', l: '/balancing', u: '/access', t: '/certificates', n: '/nodes', d: '/audit' };
const own = new Map();
let since = 0, on = true;
try { on = localStorage.getItem('keys') !== 'off'; } catch { /* on */ }

/** Have a key do something while `node` is in the page. */
export function onKey(key, node, run) { own.set(key, { node, run }); }
export const areOn = () => on;
export function setKeys(value) {
  on = value;
  try { localStorage.setItem('keys', value ? 'on' : 'off'); } catch { /* for this page */ }
}

const KEYS = {
  '?': () => showKeys(),
  '/': () => { const field = $('[data-filter]'); if (!field) return false; field.focus(); if (field.matches('button')) field.click(); return true; },
  '-': zoomOut,
  '[': () => shift(-1),
  ']': () => shift(1),
  ' ': () => live.pause(),
  j: () => stepRow(1),
  k: () => stepRow(-1),
};

export function listen() {
  addEventListener('keydown', (event) => {
    if ((event.metaKey || event.ctrlKey) && !event.altKey && event.key.toLowerCase() === 'k') {
      event.preventDefault();
      return palette();
    }
    if (!on || event.metaKey || event.ctrlKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest?.('input, select, textarea, dialog, [contenteditable]')) {
      if (event.key === 'Escape' && event.target.matches('[data-filter]')) { if (event.target.value) { event.target.value = ''; event.target.dispatchEvent(new Event('input')); } else event.target.blur(); }
      return;
    }
    if (event.key === ' ' && event.target.closest?.('button, a, summary, [role=slider], [tabindex="0"]')) return;
    if (since && Date.now() - since < SECOND_KEY_MS) {
      since = 0;
      if (PAGES[event.key]) { event.preventDefault(); go(PAGES[event.key]); }
      return;
    }
    if (event.key === 'g') { since = Date.now(); return; }
    const mine = own.get(event.key);
    if (mine?.node.isConnected) { event.preventDefault(); return void mine.run(event); }
    const run = KEYS[event.key];
    if (run && run() !== false) event.preventDefault();
  });
}

export function showKeys() {
  const list = [[PALETTE_KEY, 'search, or do something'], ['/', 'filter'], ['j k', 'next row, row before'], ['Enter', 'open'], ['x', 'exclude a value'], ['[ ]', 'half a window back, on'], ['-', 'zoom out'], ['c', 'compare'],
    ['Space', 'pause or resume live updates'], ['g o', 'Overview'], ['g a', 'Analytics'], ['g s', 'Sessions'], ['g p', 'Apps'], ['g l', 'Load balancing'], ['?', 'this list'], ['Esc', 'close, then clear']];
  const box = h('label', { class: 'check' }, h('input', { type: 'checkbox', checked: on, onchange: (event) => setKeys(event.target.checked) }), h('span', {}, 'Single keys are on'));
  dialog({ title: 'Keys', wide: true, body: [h('dl', { class: 'keys' }, list.map(([key, what]) => h('div', {}, h('dt', {}, h('kbd', { class: 'kbd' }, key)), h('dd', {}, what)))), box] });
}
