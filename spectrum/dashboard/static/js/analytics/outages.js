// Outages from changes of health: values alone.

// What an event is about, how bad it is, and in words.
const WORDS = { originHealth: ['origin', 'failed', 'down'], originEjected: ['origin', 'degraded', 'ejected'], poolHealth: ['pool', 'failed', 'down'], loadBalancerFallback: ['load balancer', 'degraded', 'on its fallback'] };

/** Outages from changes of health, which come newest first. What is still down lasts until `until`. */
export function outages(health, since, until) {
  const open = new Map(), found = [];
  for (const row of [...health].reverse()) {
    const event = row.event === 'originReturned' ? 'originEjected' : row.event, words = WORDS[event];
    if (!words) continue;
    const name = event === 'poolHealth' ? row.pool : event === 'loadBalancerFallback' ? row.load_balancer : row.origin || row.origin_ip;
    const key = [event, row.node, row.pool, name].join('\n'), isBad = row.event === 'originEjected' || (row.event !== 'originReturned' && !row.healthy);
    if (isBad && !open.has(key)) {
      const note = { t: row.time, t2: null, kind: words[1], text: `${words[0]} ${String(name).split('/').at(-1)} ${words[2]}`, why: row.reason, href: '#/balancing' };
      open.set(key, note);
      found.push(note);
    } else if (!isBad && open.has(key)) {
      open.get(key).t2 = row.time;
      open.delete(key);
    }
  }
  return merged(found.map((one) => ({ ...one, t2: one.t2 ?? until })).filter((one) => one.t2 >= since));
}

// Each node probes for itself: one outage that several of them saw is one.
function merged(notes) {
  const kept = [];
  for (const note of notes) {
    const same = kept.find((one) => one.text === note.text && note.t <= one.t2 && note.t2 >= one.t);
    if (same) { same.t = Math.min(same.t, note.t); same.t2 = Math.max(same.t2, note.t2); } else kept.push(note);
  }
  return kept;
}
