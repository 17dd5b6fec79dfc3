// Numbers and times: three significant figures, SI steps, a no-break space before the unit. docs/dashboard-style.md has the rules.
export const NB = '\u00a0', MINUS = '\u2212', DASH = '\u2013';
const STEPS = ['', 'k', 'M', 'G', 'T', 'P'];
const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');
const DAYS = 'Sun Mon Tue Wed Thu Fri Sat'.split(' ');
const sign = (v, text) => (v < 0 ? MINUS + text : text);

function figures(v) {
  if (v >= 99.95 || v === 0) return v.toFixed(0);
  if (v >= 9.995) return v.toFixed(1);
  return v >= 0.00995 ? v.toFixed(2) : v.toPrecision(1);
}

/** `si(1.21e9, 'bit/s')` is "1.21 Gbit/s". */
export function si(value, unit = '') {
  if (value == null || Number.isNaN(value)) return DASH;
  let v = Math.abs(value), step = 0;
  while (v >= 999.5 && step < STEPS.length - 1) { v /= 1000; step++; }
  const number = step === 0 && Number.isInteger(v) ? v.toFixed(0) : figures(v);
  const tail = STEPS[step] + unit;
  return sign(value, number + (tail ? NB + tail : ''));
}
export const exact = (n) => sign(n, Math.round(Math.abs(n)).toLocaleString('en-GB'));
/** A count: exact to 99,999, then SI. */
export const int = (n) => (n == null ? DASH : Math.abs(n) < 1e5 ? exact(n) : si(n));
export const bytes = (n) => si(n, 'B');
export const bits = (n) => si(n, 'bit/s');

/** A share, 0 to 1. What is not all is never 100 %. */
export function pct(x) {
  if (x == null || Number.isNaN(x)) return DASH;
  if (x === 0) return '0' + NB + '%';
  if (x < 0.0001) return '<' + NB + '0.01' + NB + '%';
  const digits = x >= 1 ? 0 : x > 0.99 || x < 0.01 ? 2 : x < 0.0995 ? 1 : 0;
  const v = x * 100;
  const shown = x > 0.99 && x < 1 ? Math.floor(v * 100) / 100 : v;
  return shown.toFixed(digits) + NB + '%';
}

/** What it is now against what it was: "+6 %", "−3 %", "5.0 ×"; nothing where there was nothing. */
export function change(now, before) {
  if (now == null || !before) return '';
  const ratio = now / before;
  if (ratio >= 3) return (ratio >= 9.95 ? int(Number(ratio.toPrecision(ratio < 99.5 ? 2 : 3))) : ratio.toFixed(1)) + NB + '×';
  const percent = Math.round((ratio - 1) * 100);
  return percent === 0 ? '0' + NB + '%' : (percent > 0 ? '+' : MINUS) + Math.abs(percent) + NB + '%';
}

/** A duration in seconds, two units at most. */
export function dur(s) {
  if (s == null || Number.isNaN(s)) return DASH;
  if (s < 0.9995) return s === 0 ? '0' + NB + 's' : ms(s * 1e9);
  if (s < 9.95) return (Number.isInteger(s) ? s : s.toFixed(1)) + NB + 's';
  if (s < 119.5) return Math.round(s) + NB + 's';
  if (s < 3570) return Math.round(s / 60) + NB + 'min';
  const minutes = Math.round(s / 60), hours = Math.floor(minutes / 60);
  if (hours < 48) return hours + NB + 'h' + (minutes % 60 ? NB + (minutes % 60) + NB + 'min' : '');
  return Math.round(s / 86400) + NB + 'd';
}
/** Nanoseconds, in milliseconds. */
export const ms = (ns) => (ns == null ? DASH : figures(ns / 1e6) + NB + 'ms');

// ---- instants: UTC by default, local by a setting ----
let local = false;
try { local = localStorage.getItem('zone') === 'local'; } catch { /* UTC */ }
export function setLocal(on) {
  local = on;
  try { localStorage.setItem('zone', on ? 'local' : 'utc'); } catch { /* for this page */ }
}
export const isLocal = () => local;
export function zone(at = new Date()) {
  if (!local) return 'UTC';
  const minutes = -at.getTimezoneOffset(), two = (n) => String(n).padStart(2, '0');
  return 'UTC' + (minutes < 0 ? MINUS : '+') + two(Math.abs(minutes) / 60 | 0) + ':' + two(Math.abs(minutes) % 60);
}

/** Seconds since 1970 of a number (those), a Date, or text in ISO 8601. */
export const seconds = (t) => (typeof t === 'number' ? t : new Date(t).getTime() / 1000);

function parts(t) {
  const at = new Date(seconds(t) * 1000);
  const shifted = local ? new Date(at.getTime() - at.getTimezoneOffset() * 60000) : at;
  return { iso: shifted.toISOString(), day: shifted.getUTCDay(), date: shifted.getUTCDate(), month: shifted.getUTCMonth(), year: shifted.getUTCFullYear() };
}
const dayOf = (t) => parts(t).iso.slice(0, 10);
export const hms = (t) => parts(t).iso.slice(11, 19);
export const hm = (t) => parts(t).iso.slice(11, 16);
/** "Wed 18", which an axis has at midnight. */
export const weekday = (t) => `${DAYS[parts(t).day]} ${parts(t).date}`;
/** The whole instant, for a title. */
export const instant = (t) => `${parts(t).iso.slice(0, 10)} ${hms(t)} ${zone(new Date(seconds(t) * 1000))}`;

/** The day of an instant, as short as it is clear, with a space behind it: "" today, "Tue ", "9 Nov ", "9 Nov 2025 ". */
export function day(t, now = Date.now() / 1000) {
  const s = seconds(t), p = parts(s);
  if (dayOf(s) === dayOf(now)) return '';
  if (now - s < 6 * 86400 && s <= now) return `${DAYS[p.day]} `;
  return `${p.date} ${MONTHS[p.month]} ${p.year === parts(now).year ? '' : `${p.year} `}`;
}

/** An instant, as short as it is clear: "20:26", "Tue 20:26", "9 Nov 21:15", "9 Nov 2025". */
export function when(t, now = Date.now() / 1000) {
  const on = day(t, now);
  return /\d{4} $/.test(on) ? on.trim() : on + hm(t);
}

/** An instant of today to the second, others as `when`: "20:26:41", "Tue 20:26". */
export const moment = (t, now = Date.now() / 1000) => (dayOf(t) === dayOf(now) ? hms(t) : when(t, now));

/** How long ago: "12 s ago", "12 min ago", "4 h ago", then the day. */
export function ago(t, now = Date.now() / 1000) {
  const s = seconds(t), past = now - s;
  if (past < 1) return 'now';
  if (past < 86400) return (past < 60 ? Math.floor(past) + NB + 's' : past < 3600 ? Math.floor(past / 60) + NB + 'min' : Math.floor(past / 3600) + NB + 'h') + ' ago';
  const p = parts(s);
  return p.year === parts(now).year ? `${p.date} ${MONTHS[p.month]}` : `${p.date} ${MONTHS[p.month]} ${p.year}`;
}

/** "one app", "2 apps": small numbers that begin a sentence are words. */
const WORDS = 'no one two three four five six seven eight nine ten'.split(' ');
export const count = (n, noun, plural = noun + 's') => `${n <= 10 && Number.isInteger(n) ? WORDS[n] : int(n)} ${n === 1 ? noun : plural}`;
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
