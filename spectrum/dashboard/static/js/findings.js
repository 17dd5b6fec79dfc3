// What is wrong, in sentences: templates over what the daemon tells (docs/dashboard.md has the kinds). Their nouns are links.
import { h, foreign } from './dom.js';
import { ago, bits, capital, count, dur, exact, instant, int, moment, pct, when } from './format.js';
import { mark } from './marks.js';
import { linkTo, pageIs, trafficOf } from './links.js';
import { href } from './router.js';

const REASONS = { connect_refused: 'the connection is refused', connect_timeout: 'nobody answers in time', connect_unreachable: 'there is no route', connect_failed: 'the connection fails',
  unresolved: 'its name has no address', no_origin: 'no origin is up', origin_tls_failed: 'the TLS handshake with the origin fails', origin_certificate: 'the origin’s certificate is not verified',
  origin_full: 'origins have as many sessions as they may', queue_timeout: 'waiting for an origin with room takes too long', no_descriptor: 'there are no descriptors left', worker_lost: 'a worker ended' };

const link = (address, ...kids) => (address ? h('a', { href: address }, kids) : h('span', {}, kids));
const named = (section, finding) => link(linkTo(section, finding.id), foreign(finding.name));
const since = (finding) => (finding.since ? [' since ', h('time', { datetime: new Date(finding.since * 1000).toISOString(), title: instant(finding.since) }, when(finding.since))] : []);
const mono = (text) => h('code', {}, foreign(text));
const place = ({ address, port }) => [foreign(address), port ? `:${port}` : ''];
const plural = (n, one, many = `${one}s`) => `${int(n)} ${n === 1 ? one : many}`;

/** The apps that a finding is about: "app echo", "apps a, b and 3 more". */
function users({ apps, app_count: n }) {
  if (!n) return null;
  const shown = apps.slice(0, 3), more = n - shown.length;
  return [n === 1 ? 'app ' : 'apps ', shown.map((one, i) => [i ? (i === shown.length - 1 && !more ? ' and ' : ', ') : '', link(linkTo('apps', one.id), foreign(one.name))]), more > 0 ? ` and ${int(more)} more` : ''];
}

// Of a pool: what is left, and what one less means.
function left({ up, of, minimum }) {
  if (up === 0) return of === 1 ? ' has no other.' : ` has none of its ${plural(of, 'origin')} left.`;
  if (up < minimum) return ` has ${up} of ${of} left and needs ${minimum}.`;
  return ` serves from ${up} of ${of}${up === minimum ? '; with one less it is down' : ''}.`;
}

const causes = (origins) => (origins?.length ? [': ', origins.map((one, i) => [i ? ', ' : '', foreign(one.name, 48), ' (', foreign(one.why, 80), ')'])] : '');
const keptOff = ({ dropped: n }) => (n ? `${plural(n, 'packet')} ${n === 1 ? 'was' : 'were'} kept off.` : 'Nothing was kept off.');
const attacked = (f) => (f.name ? ['app ', named('apps', f)] : foreign(f.facts.target));
const sort = (f) => [foreign(f.facts.vectors.join(', ')), ', up to ', bits(f.facts.bits_per_second), '. '];
const MET = { mitigated: (f) => keptOff(f.facts), fading: (f) => ['Little of it is left. ', keptOff(f.facts)], logged: () => 'Its rules only count it: nothing is kept off.', left_alone: (f) => ['No rule is written: ', foreign(f.facts.why, 300), '.'] };
const balancing = (f) => ({ label: 'Look into it', href: linkTo(f.section, f.id) });
const KINDS = {
  origin_down: (f) => ({
    what: [h('b', {}, 'Origin ', link(linkTo('pools', f.id), foreign(f.facts.origin))), f.since ? [' has not answered', since(f)] : ' does not answer', '.'],
    why: [capital(f.facts.why), ' at ', place(f.facts), '. Pool ', named('pools', f), left(f.facts), f.app_count ? [' For ', users(f), '.'] : ' No app uses it.'],
    act: balancing(f),
  }),
  origin_ejected: (f) => ({
    what: [h('b', {}, 'Origin ', link(linkTo('pools', f.id), foreign(f.facts.origin))), ' rests: too many clients could not reach it.'],
    why: [capital(f.facts.why), '. Pool ', named('pools', f), left(f.facts)],
    act: balancing(f),
  }),
  pool_down: (f) => ({
    what: [h('b', {}, 'Pool ', named('pools', f)), f.since ? [' has been down', since(f)] : ' is down', '.'],
    why: [f.facts.up ? `${f.facts.up} of ${f.facts.of} origins are up; it needs ${f.facts.minimum}` : f.facts.of === 1 ? 'Its only origin is down' : `None of its ${plural(f.facts.of, 'origin')} is up`, causes(f.facts.origins), '.', f.app_count ? [' For ', users(f), '.'] : ' No app uses it.'],
    act: balancing(f),
  }),
  on_fallback: (f) => ({
    what: [h('b', {}, 'Load balancer ', named('load_balancers', f)), f.facts.serves ? ' uses its fallback pool ' : ' is left with its fallback pool ', foreign(f.facts.pool), f.facts.serves ? '.' : ', which is down, too.'],
    why: [`Of its ${count(f.facts.pools.length, 'pool')} none is healthy.`, f.app_count ? [' For ', users(f), '.'] : ''],
    act: balancing(f),
  }),
  app_failing: (f) => ({
    what: [h('b', {}, 'App ', named('apps', f)), f.severity === 'failed' ? ' fails.' : ' fails in part.'],
    why: [`Of ${plural(Math.max(f.facts.began, f.facts.failed), 'session')} in the last minute ${int(f.facts.failed)} failed, ${pct(Math.min(1, f.facts.failed / Math.max(f.facts.began, f.facts.failed)))}: ${REASONS[f.facts.why] || 'most of them'} (`, mono(f.facts.why), ').'],
    act: pageIs('/analytics') ? { label: 'Who and why', href: trafficOf('app', f.name, { m: 'failed', by: 'reason', last: '1h' }) } : { label: 'See the app', href: linkTo('apps', f.id) },
  }),
  attack: (f) => ({
    what: [h('b', {}, 'An attack on ', attacked(f)), f.since ? [' has been ongoing', since(f)] : ' is ongoing', '.'],
    why: [sort(f), (MET[f.facts.state] || MET.mitigated)(f)],
    act: { label: 'See the attack', href: href(`/attacks/${f.facts.attack}`) },
  }),
  attacks_ended: (f, now) => ({
    what: [h('b', {}, `${capital(count(f.facts.count, 'attack'))} on `, attacked(f)), f.facts.count === 1 ? ' is over.' : ' are over.'],
    why: [sort(f), keptOff(f.facts)],
    evidence: ago(f.since, now),
    act: f.facts.count === 1 ? { label: 'See the attack', href: href(`/attacks/${f.facts.attack}`) } : { label: 'See them', href: href('/attacks', f.name ? { q: f.name } : {}) },
  }),
  ddos: (f) => ({ what: [h('b', {}, 'Detection of attacks'), ' does not do all that it should.'], why: [capital(f.facts.why), '.'] }),
  certificate_ends: (f, now) => ({
    what: [h('b', {}, 'Certificate ', named('certificates', f)), f.facts.ends_at > now ? ` ends in ${dur(f.facts.ends_at - now)}.` : ` ended ${ago(f.facts.ends_at, now)}.`],
    why: f.facts.ends_at > now ? 'Clients that verify it refuse it from then on.' : 'Clients that verify it refuse it.',
    evidence: instant(f.facts.ends_at),
    act: { label: 'See it', href: linkTo('certificates', f.id) },
  }),
  certificate_not_ordered: (f, now) => ({
    what: [h('b', {}, 'Certificate ', named('certificates', f)), ' cannot be ordered.'],
    why: [capital(f.facts.why), `, ${count(f.facts.failures, 'time')}.`, f.facts.try_at > now ? ` The next attempt is at ${when(f.facts.try_at)}.` : ''],
    act: { label: 'See it', href: linkTo('certificates', f.id) },
  }),
  limit_near: (f) => ({
    what: [h('b', {}, capital(f.facts.limit.replaceAll('_', ' ')), ' of ', f.section ? named(f.section, f) : f.facts.of === 'node' ? 'this node' : foreign(f.facts.of)), f.severity === 'failed' ? ' are at their limit.' : ` are at ${pct(f.facts.used / f.facts.maximum)} of their limit.`],
    why: [`${exact(f.facts.used)} of ${exact(f.facts.maximum)}. `, f.facts.setting && [mono(f.facts.setting), ' raises it.']],
    act: f.section ? { label: 'See the app', href: linkTo(f.section, f.id) } : { label: 'All limits', href: pageIs('/nodes') ? '#/nodes' : '' },
  }),
  name_unresolved: (f) => ({
    what: [h('b', {}, 'Name ', foreign(f.facts.name)), ' cannot be looked up.'],
    why: [capital(f.facts.why), f.facts.addresses.length ? `. The addresses of the last answer are in use: ${f.facts.addresses.slice(0, 4).join(', ')}.` : '. Origins by this name have no address.'],
  }),
  worker_replaced: (f) => ({
    what: [h('b', {}, `${capital(count(f.facts.count, 'worker'))} ended`), ' and ', f.facts.count === 1 ? 'was' : 'were', ' replaced, last at ', moment(f.since), '.'],
    why: [f.facts.why && [capital(f.facts.why), '. '], f.facts.lost ? `${plural(f.facts.lost, 'session')} were lost with ${f.facts.count === 1 ? 'it' : 'them'}.` : 'No session was lost.'],
    act: { label: 'See the node', href: pageIs('/nodes') ? '#/nodes' : '' },
  }),
  worker_missing: (f) => ({
    what: [h('b', {}, `Worker ${f.facts.worker}`), ' does not run.'],
    why: [f.facts.why && [capital(f.facts.why), '. '], `It starts again in ${dur(Math.max(1, Math.round(f.facts.starts_in_s)))}; the others serve meanwhile.`],
    act: { label: 'See the node', href: pageIs('/nodes') ? '#/nodes' : '' },
  }),
  worker_stalled: (f) => ({ what: [h('b', {}, `Worker ${f.facts.worker}`), ' accepts no more.'], why: `It is out of descriptors, with ${plural(f.facts.sessions, 'session')}: raise LimitNOFILE.` }),
  worker_deaf: (f) => ({ what: [h('b', {}, `Worker ${f.facts.worker}`), ` does not watch ${plural(f.facts.listeners, 'listener')}.`], why: 'The log says why; it tries again by itself.' }),
  records_lost: (f) => ({
    what: [h('b', {}, `${capital(f.facts.part)}${f.facts.name ? ' ' : ''}`, f.facts.name && foreign(f.facts.name)), ` lost ${plural(f.facts.lost, 'record')} since the daemon’s start.`],
    why: [f.facts.why ? [capital(f.facts.why), '. '] : '', f.facts.behind ? `It is ${plural(f.facts.behind, 'record')} behind. ` : '', 'A larger journal holds them longer: ', mono('records.journal.max_bytes'), '.'],
  }),
  records_wait: (f) => ({
    what: [h('b', {}, `${capital(f.facts.part)}${f.facts.name ? ' ' : ''}`, f.facts.name && foreign(f.facts.name)), ' does not take records.'],
    why: [capital(f.facts.why), '. ', f.facts.behind ? `${plural(f.facts.behind, 'record')} wait in the journal; none is lost.` : 'None is lost yet.'],
  }),
  analytics_behind: (f) => ({
    what: [h('b', {}, 'Analytics'), ` is ${dur(f.facts.lag_s)} behind.`],
    why: [f.facts.records ? `${plural(f.facts.records, 'record')} wait in the journal. ` : '', 'Charts end there; sessions are served.', f.facts.why ? [' ', capital(f.facts.why), '.'] : ''],
  }),
  analytics_failing: (f) => ({ what: [h('b', {}, 'Analytics'), ' does not take records.'], why: [capital(f.facts.why || ''), '. They wait in the journal; charts end there.'] }),
  set_aside: (f) => ({
    what: [h('b', {}, capital(f.section.replaceAll('_', ' ').replace(/s$/, '')), ' ', named(f.section, f)), ' of the API is not served.'],
    why: [capital(f.facts.why || 'it does not fit the file'), '.'],
    act: { label: 'See it', href: linkTo(f.section, f.id) },
  }),
  reload_refused: (f) => ({ what: [h('b', {}, 'The file'), ' was changed', since(f), ' and is not served.'], why: [foreign(f.facts.why, 300), '. What was served before still is.'] }),
  restart_needed: (f) => ({ what: [h('b', {}, 'A restart'), ' is needed for what was changed.'], why: [foreign(f.facts.settings.join('; '), 300), '.'] }),
};

/** Return a finding in parts: {what, why, evidence, act: {label, href}}; one that this version does not know is told plainly. */
export function told(finding, now) {
  const known = KINDS[finding.kind];
  if (known) return known(finding, now);
  return { what: [h('b', {}, capital(finding.kind.replaceAll('_', ' '))), finding.name ? [': ', foreign(finding.name)] : '', '.'], why: foreign(Object.entries(finding.facts).map(([name, one]) => `${name} ${one}`).join(', ')) };
}

/** What tells findings apart from one second to the next. */
export const keyOf = (f) => [f.kind, f.section, f.name, f.facts.attack ?? f.facts.origin ?? f.facts.worker ?? f.facts.limit ?? f.facts.name ?? ''].join('\n');

export function item(finding, now) {
  const { what, why, evidence, act } = told(finding, now);
  const proof = evidence || (finding.since ? `for ${dur(Math.max(1, Math.round(now - finding.since)))}` : '');
  return h('li', { 'data-key': keyOf(finding) }, mark(finding.severity, finding.severity), h('div', {}, h('p', { class: 'what' }, what), h('p', { class: 'why' }, why)),
    h('div', { class: 'ev' }, proof), h('div', { class: 'acts' }, act?.href ? h('a', { class: 'btn', href: act.href }, act.label) : null));
}

const HEADS = {
  origin_down: (n) => `${capital(count(n, 'origin'))} ${n === 1 ? 'is' : 'are'} down.`,
  pool_down: (n) => `${capital(count(n, 'pool'))} ${n === 1 ? 'is' : 'are'} down.`,
  app_failing: (n, f) => (n === 1 ? `App ${f.name} fails${f.severity === 'failed' ? '' : ' in part'}.` : `${capital(count(n, 'app'))} fail.`),
  attack: (n, f) => (n > 1 ? `${capital(count(n, 'attack'))} are ongoing.` : `${f.name ? `App ${f.name}` : f.facts.target} is attacked${f.facts.state === 'mitigated' ? ', and the attack is kept off' : ''}.`),
  ddos: () => 'Detection of attacks needs attention.',
  on_fallback: (n) => `${capital(count(n, 'load balancer'))} ${n === 1 ? 'is' : 'are'} on ${n === 1 ? 'its' : 'their'} fallback pool.`,
  certificate_ends: (n, f, now) => (n > 1 ? `${capital(count(n, 'certificate'))} end soon.` : f.facts.ends_at > now ? `A certificate ends in ${dur(f.facts.ends_at - now)}.` : 'A certificate has ended.'),
  certificate_not_ordered: () => 'A certificate cannot be ordered.',
  limit_near: (n) => (n > 1 ? `${capital(count(n, 'limit'))} are nearly reached.` : 'A limit is nearly reached.'),
  name_unresolved: (n) => (n > 1 ? `${capital(count(n, 'name'))} cannot be looked up.` : 'A name cannot be looked up.'),
  worker_replaced: () => 'A worker was replaced.',
  worker_missing: (n) => `${capital(count(n, 'worker'))} ${n === 1 ? 'does' : 'do'} not run.`,
  worker_stalled: () => 'A worker accepts no more.',
  worker_deaf: () => 'A worker does not watch all listeners.',
  records_lost: () => 'Records were lost.',
  records_wait: () => 'Records wait.',
  analytics_behind: () => 'Analytics is behind.',
  analytics_failing: () => 'Analytics does not take records.',
  set_aside: (n) => `${capital(count(n, 'object'))} of the API ${n === 1 ? 'is' : 'are'} not served.`,
  reload_refused: () => 'The last change of the file was refused.',
  restart_needed: () => 'A change requires a restart.',
  origin_ejected: (n) => `${capital(count(n, 'origin'))} ${n === 1 ? 'rests' : 'rest'}.`,
};
// What is told first where several things are wrong: what clients meet, before its causes.
const FIRST = ['app_failing', 'attack', 'pool_down', 'origin_down', 'on_fallback', 'worker_missing', 'worker_stalled'];

// Not what is over, as an attack of yesterday.
const isWrong = (f) => f.severity !== 'past';

/** The answer that Overview opens with: what is wrong in one sentence, and whether clients notice. */
export function headline(now) {
  const { trouble, app_count: apps } = now, findings = now.findings.filter(isWrong);
  if (!findings.length) return apps ? 'Everything is served.' : 'There is no app yet.';
  const rank = (f) => (f.severity === 'failed' ? 0 : 100) + (FIRST.includes(f.kind) ? FIRST.indexOf(f.kind) : 50);
  const worst = findings.reduce((one, other) => (rank(other) < rank(one) ? other : one));
  const n = findings.filter((one) => one.kind === worst.kind).length;
  const said = (HEADS[worst.kind] || (() => 'Something needs attention.'))(n, worst, now.at);
  if (worst.kind === 'app_failing' || worst.kind === 'attack') return said;
  const hit = trouble.apps?.failed || 0;
  return `${said} ${hit ? `Clients of ${count(hit, 'app')} notice.` : 'Clients are served all the same.'}`;
}

function attention(hit, apps) {
  if (!hit) return 'No app is affected';
  if (hit === apps) return apps === 1 ? 'The one app needs attention' : `All ${count(apps, 'app')} need attention`;
  return `${capital(count(hit, 'app'))} of ${int(apps)} ${hit === 1 ? 'needs' : 'need'} attention`;
}

/** The line below it. */
export function lede(now) {
  const { trouble, app_count: apps, totals, workers } = now, hit = (trouble.apps?.failed || 0) + (trouble.apps?.degraded || 0);
  const sessions = `${count(totals.open, 'session')} ${totals.open === 1 ? 'is' : 'are'} open`;
  if (!apps) return 'An app listens on a port and sends what comes to an origin.';
  if (!now.findings.some(isWrong)) return `${capital(count(apps, 'app'))}, ${sessions}${workers ? `, ${count(workers.serving, 'worker')} ${workers.serving === 1 ? 'serves' : 'serve'}` : ''}. Nothing needs attention.`;
  return `${attention(hit, apps)}. ${capital(sessions)}.`;
}
