// What a part of a page shows when there is nothing, not yet, or no more.
import { h, put } from './dom.js';
import { capital } from './format.js';
import { mark } from './marks.js';

const SHOWN_AFTER_MS = 150, SLOW_AFTER_MS = 5000;

export const button = (label, onclick, kind = '') => h('button', { type: 'button', class: `btn ${kind}`, onclick }, label);

/** Nothing yet, nothing matches, or nothing happened: what is so, why, and what to do. */
export function blank(title, text, ...actions) {
  return h('div', { class: 'blank' }, h('p', {}, h('b', {}, title)), text && h('p', {}, text), actions.length > 0 && h('div', { class: 'acts' }, actions));
}

export const banner = (kind, ...kids) => h('div', { class: `banner ${kind}`, role: kind === 'failed' ? 'alert' : 'status' }, mark(kind), h('p', {}, kids));

/** What went wrong with a question, and a way to ask again. */
export function failure(error, again) {
  const node = banner('failed', h('b', {}, capital(error.text || error.message || '')), error.hint ? ` ${error.hint}` : '');
  if (again) node.append(button('Try again', again));
  return node;
}

/** Grey bars of the final height; nothing for the first moment, and after 5 s what takes so long. */
export function bones(rows = 4, height = 0, slow = 'Still reading') {
  const node = h('div', { class: 'bones', 'aria-busy': 'true', css: height ? { 'min-height': `${height}px` } : {} });
  setTimeout(() => { if (node.isConnected) put(node, Array.from({ length: rows }, () => h('div'))); }, SHOWN_AFTER_MS);
  setTimeout(() => { if (node.isConnected) node.append(h('p', { class: 'small quiet', role: 'status' }, slow)); }, SLOW_AFTER_MS);
  return node;
}

/** Fill `node` with what a promise gives; bars until then, the failure with a way to try again otherwise. */
export async function fill(node, ask, draw, rows = 4) {
  put(node, bones(rows));
  try {
    put(node, await draw(await ask()));
  } catch (error) {
    if (error.name !== 'AbortError') put(node, failure(error, () => fill(node, ask, draw, rows)));
  }
  return node;
}
