// One client's records as a story: what each says, equal ones folded, newest first, and the verdict of it all. Pure.
// A row is one of `events`: times in seconds since 1970, durations and RTTs in microseconds.

const OPEN = new Set(['connect', 'progress']);
const CLEAN = new Set([200, 499]);
const TLS = new Set(['client_tls_failed', 'client_tls_timeout', 'client_tls_error', 'sni_unknown', 'hello_too_long']);

// Kinds of marks: passed, mitigated (refused), degraded (TLS did not come about), failed.
const kindOf = (row) => {
  if (TLS.has(row.reason)) return 'degraded';
  if (row.outcome === 'refused') return 'mitigated';
  return row.outcome === 'failed' ? 'failed' : 'passed';
};

// Rows of one session are one event: what it moved is the sum, what it came to is its last row.
export function events(rows) {
  const sessions = new Map(), found = [];
  for (const row of [...rows].sort((a, b) => a.time - b.time)) {
    const key = row.session && row.outcome !== 'refused' ? `${row.node} ${row.session}` : null;
    const known = key && sessions.get(key);
    const event = known ?? { rows: 0, count: 0, bytesIn: 0, bytesOut: 0, packetsIn: 0, packetsOut: 0, rtts: [], first: row.time };
    event.rows += 1;
    event.bytesIn += row.client_bytes ?? 0;
    event.bytesOut += row.origin_bytes ?? 0;
    event.packetsIn += row.client_packets ?? 0;
    event.packetsOut += row.origin_packets ?? 0;
    if (row.client_rtt) event.rtts.push([row.time, row.client_rtt]);
    Object.assign(event, { row, last: row.time, open: OPEN.has(row.event), kind: OPEN.has(row.event) ? 'passed' : kindOf(row) });
    event.count = Math.max(1, row.weight ?? 1);
    event.began = row.duration != null && !event.open ? row.time - row.duration / 1e6 : Math.min(event.began ?? row.time, row.time);
    if (!known) { found.push(event); if (key) sessions.set(key, event); }
  }
  return found.sort((a, b) => a.last - b.last);
}

const sameness = ({ row, kind, open }) => JSON.stringify([
  kind, open, row.app, row.reason, row.access_rule, row.limit_hit, row.tls_error, kind === 'passed' ? '' : row.origin, row.clients > 1]);

// Equal events of one app, with nothing else of that app in between, are one line.
export function fold(list) {
  const lines = [], latest = new Map();
  for (const event of list) {
    const line = latest.get(event.row.app);
    if (line && !event.open && sameness(line) === sameness(event)) {
      line.count += event.count; line.rows += event.rows; line.last = event.last;
      line.bytesIn += event.bytesIn; line.bytesOut += event.bytesOut;
      line.packetsIn += event.packetsIn; line.packetsOut += event.packetsOut;
      line.rtts.push(...event.rtts); line.origins.add(event.row.origin); line.row = event.row;
    } else {
      const made = { ...event, rtts: [...event.rtts], origins: new Set([event.row.origin]) };
      lines.push(made); latest.set(event.row.app, made);
    }
  }
  return lines.sort((a, b) => b.last - a.last);
}

// What decides about the client now, app by app: the latest line of each.
export function verdict(lines) {
  const latest = new Map();
  for (const line of lines) if (!latest.has(line.row.app) && !(line.row.clients > 1)) latest.set(line.row.app, line);
  const all = [...latest.values()];
  return {
    refused: all.filter((line) => line.kind === 'mitigated'),
    troubled: all.filter((line) => line.kind === 'failed' || line.kind === 'degraded'),
    served: all.filter((line) => line.kind === 'passed'),
    open: lines.filter((line) => line.open),
  };
}

export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length ? sorted[sorted.length >> 1] : null;
};

export const isClean = (row) => CLEAN.has(row.status);

// A step of `explain` and the mark that goes with it.
export function stepKind(text) {
  if (/\b(blocks it|is refused|are dropped|gets no answer|is full|paused)\b/.test(text)) return 'mitigated';
  if (/\b(is down|not used|no origin|no pool is healthy)\b/.test(text)) return 'degraded';
  return 'ok';
}
