// Scales, ticks and buckets: numbers alone, no document.

const DAY = 86400;
const NB = '\u00a0';
const VALUE_STEPS = [1, 2, 2.5, 5, 10];
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
  DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 91 * DAY, 364 * DAY];
const BUCKETS = [1, 5, 10, 30, 60, 300, 600, 900, 1800, 3600, 10800, 21600, 43200, DAY];
const WEEKDAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const PREFIXES = ['', 'k', 'M', 'G', 'T', 'P'];
const SHRINK_AFTER_S = 10;
export const MIN_BUCKET_PX = 3;

/** Axis from zero to at least `highest`, with at most `most` hairlines: {max, step, ticks}. */
export function valueAxis(highest, most = 4) {
  const top = highest > 0 && Number.isFinite(highest) ? highest : 1;
  // A curve may rise 2 % above the topmost hairline, so that 1.01 M does not take an axis up to 2 M.
  let power = 10 ** Math.floor(Math.log10(top / most));
  let step = 0;
  while (!step) {
    step = VALUE_STEPS.map((one) => one * power).find((one) => Math.ceil(top / one - 0.02) <= most) || 0;
    power *= 10;
  }
  const count = Math.max(1, Math.ceil(top / step - 0.02));
  const ticks = Array.from({ length: count }, (_, i) => round((i + 1) * step));
  return { max: ticks[count - 1], step, ticks };
}

const round = (value) => Number(value.toPrecision(12));

/** Highest value that a live axis shows: it grows at once, and shrinks when it was too large for 10 s.
 * `before` is what this returned last ({shown, largeSince}), or null. */
export function held(before, highest, now) {
  if (!before || highest >= before.shown) return { shown: highest, largeSince: null };
  const fits = valueAxis(highest).max >= valueAxis(before.shown).max;
  if (fits) return { shown: before.shown, largeSince: null };
  const since = before.largeSince ?? now;
  return now - since >= SHRINK_AFTER_S ? { shown: highest, largeSince: null } : { shown: before.shown, largeSince: since };
}

/** Label of a hairline: a number in the axis' own power of thousand; the topmost has the unit. */
export function valueLabel(value, axis, unit) {
  const power = Math.min(PREFIXES.length - 1, Math.max(0, Math.floor(Math.log10(axis.max * 1.0001) / 3)));
  const number = String(Number((value / 1000 ** power).toFixed(3)));
  if (value < axis.max - axis.step / 2) return number;
  const suffix = PREFIXES[power] + (unit || '');
  return suffix ? number + NB + suffix : number;
}

/** Instants of the time axis, at least `gap` pixels apart: {step, ticks}. `offset` is the zone's, in seconds. */
export function timeAxis(since, until, width, { gap = 62, offset = 0 } = {}) {
  const most = Math.max(1, width / gap);
  const wide = Math.max(1, width / (gap + 12)); // with seconds
  const step = TIME_STEPS.find((one) => (until - since) / one <= (one < 60 ? wide : most)) || TIME_STEPS.at(-1);
  const first = Math.ceil((since + offset) / step) * step - offset;
  const ticks = [];
  for (let at = first; at <= until; at += step) ticks.push(at);
  return { step, ticks };
}

/** Label of an instant of the time axis: `14:30`, `Wed 18` at midnight, seconds with a step below a minute. */
export function timeLabel(at, step, offset = 0) {
  const date = new Date((at + offset) * 1000);
  if ((at + offset) % DAY === 0) {
    return step >= 7 * DAY ? `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`
      : `${WEEKDAYS[date.getUTCDay()]} ${date.getUTCDate()}`;
  }
  return date.toISOString().slice(11, step < 60 ? 19 : 16);
}

/** An instant as the crosshair says it: seconds only where they can be told apart, the day only over longer ranges. */
export function momentLabel(at, range, bucket, offset = 0) {
  const date = new Date((at + offset) * 1000);
  const day = `${WEEKDAYS[date.getUTCDay()]} ${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
  if (bucket >= DAY) return day;
  const clock = date.toISOString().slice(11, range < 7200 && bucket < 60 ? 19 : 16);
  return range > 1.1 * DAY ? `${day} ${clock}` : clock;
}

/** Width of buckets in seconds: the smallest of the ladder that gives each at least 3 px, and at most `most` of them. */
export function bucketFor(range, width, most = 480) {
  const places = Math.max(1, Math.min(most, Math.floor(width / MIN_BUCKET_PX)));
  return BUCKETS.find((one) => range / one <= places) || Math.ceil(range / places / DAY) * DAY;
}

/** A number of seconds as the name of a bucket: `5 min`, `1 h`. */
export function bucketName(seconds) {
  for (const [size, unit] of [[DAY, 'd'], [3600, 'h'], [60, 'min']]) {
    if (seconds % size === 0) return `${seconds / size}${NB}${unit}`;
  }
  return `${seconds}${NB}s`;
}

/** Starts of all buckets that touch [since, until). */
export function bucketTimes(since, until, bucket) {
  const times = [];
  for (let at = Math.floor(since / bucket) * bucket; at < until; at += bucket) times.push(at);
  return times;
}

/** How many of the buckets are over by `asOf`: the open one is not drawn. */
export function closed(times, bucket, asOf) {
  if (asOf == null) return times.length;
  let count = times.length;
  while (count > 0 && times[count - 1] + bucket > asOf) count -= 1;
  return count;
}
