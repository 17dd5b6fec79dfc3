// Questions to the API about what happened. docs/analytics.md has what can be asked.

import { api } from '../api.js';

/** Ask. A question is {table, metrics, dimensions, filter, since, until, bucket, order, limit, others, compare}.
 * Returns {columns: [name], rows, totals, groups, previous, asOf, partial}. */
export async function ask(question, signal) {
  const result = await api.post('/accounts/{account}/analytics/query', question, { signal });
  return { columns: result.columns.map((one) => one.name ?? one), rows: result.rows, totals: result.totals ?? {}, groups: result.groups ?? result.rows.length,
    previous: result.previous ?? null, asOf: result.as_of || null, partial: result.partial || '', rowsRead: result.rows_read };
}

/** Rows as they are, newest first: [{column: value}]. */
export async function rows(table, { since, until, filter = [], limit = 25 }, signal) {
  const answer = await ask({ table, metrics: [], dimensions: ['*'], filter, since, until, limit }, signal);
  return answer.rows.map((row) => Object.fromEntries(answer.columns.map((name, i) => [name, row[i]])));
}
