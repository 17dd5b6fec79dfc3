// One stream for the whole dashboard: what is so now, once a second. A hidden tab has none.
import { api } from './api.js';

const RETRY_MS = [500, 1000, 2000, 5000];
const LOST_AFTER_MS = 3000, FIRST_MS = 1000, SILENT_AFTER_MS = 5000, KEPT = 180;
const listeners = new Set(), watchers = new Set();
let controller = null, failures = 0, lostTimer = 0, silence = 0, frame = 0, retry = 0;

export const live = {
  /** The latest, or null before the first. */
  now: null,
  /** When that was heard, by this machine's clock, in ms. */
  heard: 0,
  paused: false,
  /** 'waiting', 'live', or with `why` 'lost' (it is asked for again) or 'refused'. */
  state: 'waiting',
  why: '',
  /** The last minutes, for what begins to draw: {at, totals}. */
  past: [],
  /** Be called with each; returns what ends that. One that is known is told at once. */
  on(listener) {
    listeners.add(listener);
    if (this.now) listener(this.now);
    return () => listeners.delete(listener);
  },
  /** Resolve when the first is there, or it is known that there will be none; a page that is drawn before would jump. */
  first() {
    return new Promise((resolve) => {
      let off = null;
      const done = () => { off?.(); resolve(); };
      const timer = setTimeout(done, FIRST_MS);
      off = this.onState(({ state }) => { if (state !== 'waiting') { clearTimeout(timer); setTimeout(done); } });
    });
  },
  /** Be told of another state. */
  onState(watcher) { watchers.add(watcher); watcher(this); return () => watchers.delete(watcher); },
  pause(on = !this.paused) {
    this.paused = on;
    for (const watcher of watchers) watcher(this);
    if (!on && this.now) apply();
  },
  start() {
    document.addEventListener('visibilitychange', () => (document.hidden ? stop() : connect()));
    connect();
  },
  restart() { stop(); this.now = null; this.past = []; this.state = 'waiting'; connect(); },
};

function become(state, why = '') {
  live.state = state;
  live.why = why;
  for (const watcher of watchers) watcher(live);
}

function stop() {
  hangUp();
  clearTimeout(lostTimer);
  lostTimer = 0;
}
function hangUp() {
  controller?.abort();
  controller = null;
  clearTimeout(silence); clearTimeout(retry);
}

async function connect() {
  if (document.hidden || !api.account) return;
  hangUp();
  const own = controller = new AbortController();
  try {
    const headers = api.token ? { authorization: `Bearer ${api.token}` } : {};
    const response = await fetch(api.url('/accounts/{account}/live'), { headers, signal: own.signal, cache: 'no-store', credentials: 'omit' });
    if (!response.ok) return void gone(own, response.status === 403 ? 'Your token may not read apps of this account.' : `The API answered with status ${response.status}.`, response.status < 500 && response.status !== 429);
    await read(response.body.pipeThrough(new TextDecoderStream()).getReader(), own);
    gone(own, 'The stream ended.');
  } catch (error) {
    if (error.name !== 'AbortError') gone(own, 'The API does not answer.');
  }
}

async function read(reader, own) {
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done || own !== controller) return;
    text += value;
    const events = text.split('\n\n');
    text = events.pop();
    for (const event of events) {
      const data = event.split('\n').filter((line) => line.startsWith('data:')).map((line) => line.slice(5)).join('\n');
      if (data) take(JSON.parse(data));
    }
  }
}

function take(message) {
  if (message.away !== undefined) return void missing(message.away);
  live.now = message;
  live.heard = Date.now();
  failures = 0;
  clearTimeout(lostTimer); lostTimer = 0;
  clearTimeout(silence);
  silence = setTimeout(() => gone(controller, 'The daemon is silent.'), SILENT_AFTER_MS);
  live.past.push({ at: message.at, totals: message.totals });
  if (live.past.length > KEPT) live.past.shift();
  if (live.state !== 'live') become('live');
  if (!live.paused) apply();
}

// The API is there, and the daemon behind it is not.
function missing(why) {
  clearTimeout(silence);
  lostTimer ||= setTimeout(() => become('lost', why), live.now ? LOST_AFTER_MS : 500);
}

// All that listens draws in one frame.
function apply() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    for (const listener of [...listeners]) listener(live.now);
  });
}

function gone(own, why, forGood = false) {
  if (own !== controller) return;
  controller?.abort();
  clearTimeout(silence);
  lostTimer ||= setTimeout(() => become(forGood ? 'refused' : 'lost', why), live.now ? LOST_AFTER_MS : 500);
  if (!forGood) retry = setTimeout(connect, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
}
