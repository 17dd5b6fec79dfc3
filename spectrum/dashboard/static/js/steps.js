// What `explain` says: where a client of an app would go now, step by step, each with its mark.
import { h, put } from './dom.js';
import { api } from './api.js';
import { mark } from './marks.js';
import { failure } from './states.js';
import { stepKind } from './story.js';

/** Fill `node` with the steps; return their texts. */
export async function explained(node, app, client, signal) {
  try {
    const { steps } = await api.get('/accounts/{account}/explain', { app, client }, { signal });
    const refused = steps.some((text) => stepKind(text) === 'mitigated');
    put(node, h('ol', { class: 'steps' }, steps.map((text) => h('li', {}, mark(stepKind(text)), h('span', {}, text))),
      refused && h('li', {}, mark('idle'), h('span', { class: 'quiet' }, 'origin: not asked any more'))));
    return steps;
  } catch (error) {
    if (error.name === 'AbortError') return [];
    const isGone = error.status === 400 && error.errors[0]?.message.startsWith('app:');
    put(node, isGone ? h('p', { class: 'quiet' }, 'It is not served any more.') : failure(error));
    return [];
  }
}
