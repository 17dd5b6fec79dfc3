// Questions to the API about what happened. docs/analytics.md has what can be asked.

import { api, ApiError } from '../api.js';

const AT_ONCE = 32; // in one request
let waiting = [];

/** Ask. A question is {table, metrics, dimensions, filter, since, until, bucket, order, limit, others, compare}.
 * Returns {columns: [name], rows, totals, groups, previous, asOf, partial}. */
export async function ask(question, signal) {
  const result = await answerTo(question, signal);
  return { columns: result.columns.map((one) => one.name ?? one), rows: result.rows, totals: result.totals ?? {}, groups: result.groups ?? result.rows.length,
    previous: result.previous ?? null, asOf: result.as_of || null, partial: result.partial || '', rowsRead: result.rows_read };
}

// What a page asks in one go is one request: a browser has few connections, and each request costs more than most answers.
function answerTo(question, signal) {
  signal?.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers();
  if (!waiting.length) queueMicrotask(() => { const all = waiting; waiting = []; while (all.length) send(all.splice(0, AT_ONCE)); });
  waiting.push({ question, signal, resolve, reject });
  return promise;
}

async function send(asked) {
  const abort = new AbortController(), open = new Set(asked);
  const close = (one, settle, value) => { if (open.delete(one)) one[settle](value); };
  const leave = (one) => { close(one, 'reject', one.signal.reason); if (!open.size) abort.abort(); };
  for (const one of asked) if (one.signal?.aborted) leave(one); else one.signal?.addEventListener('abort', () => leave(one), { once: true });
  let left = new ApiError(0, [], 'The API does not answer.');
  try {
    await api.each('/accounts/{account}/analytics/queries', { questions: asked.map((one) => one.question) }, ({ index, status, answer }) => {
      if (answer.success) close(asked[index], 'resolve', answer.result); else close(asked[index], 'reject', api.failure(status, answer));
    }, abort.signal);
  } catch (error) {
    left = error;
  }
  for (const one of [...open]) close(one, 'reject', left);
}

/** Rows as they are, newest first: [{column: value}]. */
export async function rows(table, { since, until, filter = [], limit = 25 }, signal) {
  const answer = await ask({ table, metrics: [], dimensions: ['*'], filter, since, until, limit }, signal);
  return answer.rows.map((row) => Object.fromEntries(answer.columns.map((name, i) => [name, row[i]])));
}
