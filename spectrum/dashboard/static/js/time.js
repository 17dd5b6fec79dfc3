// The time range of a page: it is the window of the day strip, and in the address.
import { here, setQuery } from './router.js';

export const HOUR = 3600, DAY = 86400;
export const presets = [{ label: '1 h', last: HOUR }, { label: '6 h', last: 6 * HOUR }, { label: '24 h', last: DAY }, { label: '7 d', last: 7 * DAY }];
const UNITS = { s: 1, m: 60, h: HOUR, d: DAY };
const SHORTEST = 5;
const listeners = new Set(), past = [];
let last = DAY, fixed = null;

const now = () => Date.now() / 1000;

/** Seconds since 1970; while it is live its end is now. */
export const range = {
  get isLive() { return !fixed; },
  get until() { return fixed ? fixed.until : now(); },
  get since() { return fixed ? fixed.since : now() - last; },
  get length() { return fixed ? fixed.until - fixed.since : last; },
  /** What the strip shows: at least the last day, and all of the range. */
  get strip() {
    const until = now(), since = Math.min(until - DAY, this.isLive ? until - last : fixed.since);
    return { since, until };
  },
};

/** Set it: {last} seconds until now, or {since, until}; `keep` adds nothing that `zoomOut` goes back to (while dragging). */
export function setRange({ last: seconds, since, until }, { keep = false } = {}) {
  if (!keep) past.push(fixed ? { ...fixed } : { last });
  if (seconds) {
    last = Math.max(SHORTEST, seconds);
    fixed = null;
  } else {
    const end = Math.min(until, now());
    fixed = { since: Math.min(since, end - SHORTEST), until: end };
  }
  setQuery(inAddress());
  tell();
}

/** Remember the range as it is, before a drag changes it. */
export const mark = () => past.push(fixed ? { ...fixed } : { last });

export function zoomOut() {
  const before = past.pop();
  if (before) return setRange(before, { keep: true });
  const { since, until, length } = range;
  return setRange(until + length / 2 >= now() ? { last: length * 2 } : { since: since - length / 2, until: until + length / 2 }, { keep: true });
}
/** Go half a window back (-1) or on (1). */
export function shift(by) {
  const { since, until, length } = range;
  const moved = until + by * length / 2;
  setRange(moved >= now() - 1 ? { last: length } : { since: since + by * length / 2, until: moved }, { keep: true });
}
export function onRange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
const tell = () => { for (const listener of [...listeners]) listener(range); };

const inAddress = () => (fixed
  ? { last: null, since: new Date(fixed.since * 1000).toISOString().slice(0, 19) + 'Z', until: new Date(fixed.until * 1000).toISOString().slice(0, 19) + 'Z' }
  : { last: last === DAY ? null : short(last), since: null, until: null });
/** The part of an address that has this range, for links to other pages. */
export const rangeQuery = () => Object.fromEntries(Object.entries(inAddress()).filter(([, value]) => value != null));
function short(s) {
  const unit = ['d', 'h', 'm'].find((one) => s % UNITS[one] === 0) || 's';
  return `${Math.round(s / UNITS[unit])}${unit}`;
}

/** Take the range from the address of the page that is being opened. */
export function readRange() {
  const { query } = here(), before = JSON.stringify([last, fixed]);
  const found = /^(\d+)([smhd])$/.exec(query.last || '');
  const since = Date.parse(query.since) / 1000, until = query.until ? Date.parse(query.until) / 1000 : now();
  if (since < until) fixed = { since, until };
  else if (found) { fixed = null; last = Math.max(SHORTEST, found[1] * UNITS[found[2]]); }
  else if (query.since === undefined && query.last === undefined) setQuery(rangeQuery());
  if (JSON.stringify([last, fixed]) !== before) tell();
}
