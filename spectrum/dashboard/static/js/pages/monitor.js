// A monitor, or a group of them: how origins are probed. One that is not saved yet can be tried.
import { h, put } from '../dom.js';
import { api } from '../api.js';
import { count, dur, NB } from '../format.js';
import { deleting, editor, objects, sentence } from '../editor.js';
import { mark } from '../marks.js';
import { mayNot, parts } from '../parts.js';
import { presets } from '../presets.js';
import { noticing } from '../pools.js';
import { go, open as reopen } from '../router.js';
import { bones, button, failure } from '../states.js';

const BACK = [['Load balancing', '#/balancing']];
const LOOK_MS = 400, MOST_LOOKS = 90;

export default async function monitor(ctx) {
  return ctx.path.includes('/groups/') ? group(ctx) : one(ctx);
}

async function one({ params, query }) {
  const isNew = params.id === 'new';
  const path = (id) => `/accounts/{account}/load_balancers/monitors/${id}`;
  const { hidden, pools = [], known } = await parts({ pools: objects('pools'), known: presets().catch(() => []) });
  const none = hidden.size ? mayNot('pools') : 'No pool has it.';
  const preset = known.find((each) => each.name === query.preset);
  const isHttp = (value) => ['http', 'https'].includes(value.type ?? 'http');
  const edit = await editor({
    section: 'monitors', noun: 'monitor', id: isNew ? '' : params.id, path, scope: () => '/accounts/{account}', collection: () => '/accounts/{account}/load_balancers/monitors',
    initial: preset ? { description: preset.name, ...preset.monitor } : { type: 'tcp', description: '' },
    layout: () => ({
      without: ['/account', '/name', '/probe_zone'],
      sections: [
        { title: 'Probe', fields: [
          { key: '/description', label: 'What it is called', kind: 'text' },
          { key: '/type', label: 'Asks by', kind: 'select', default: 'http', options: [['tcp', 'TCP connect'], ['http', 'HTTP'], ['https', 'HTTPS'], ['smtp', 'SMTP greeting'], ['udp_icmp', 'UDP, ICMP answers count'], ['icmp_ping', 'ping']] },
          { key: '/port', label: 'Port', kind: 'number', isHalf: true, placeholder: 'the origin’s' },
          { key: '/method', label: 'Method', kind: 'text', isHalf: true, placeholder: 'GET', when: isHttp },
          { key: '/path', label: 'Path', kind: 'text', placeholder: '/', when: isHttp },
          { key: '/expected_codes', label: 'Answers that are good', kind: 'text', isHalf: true, placeholder: '200', hint: '200, 2xx, or several with commas', when: isHttp },
          { key: '/expected_body', label: 'The body has', kind: 'text', isHalf: true, when: isHttp },
          { key: '/header', label: 'Headers', kind: 'map', of: 'list', keyName: 'name', valueName: 'value', add: 'Add a header', when: isHttp },
          { key: '/send', label: 'Sends', kind: 'text', isHalf: true, when: (value) => value.type === 'tcp' },
          { key: '/expect', label: 'Expects', kind: 'text', isHalf: true, placeholder: 'SSH-2.0-', when: (value) => value.type === 'tcp' },
        ] },
        { title: 'Verdict', fields: [
          { key: '/interval', label: 'Every', kind: 'duration', isHalf: true, placeholder: '60', hint: 'Seconds' }, { key: '/timeout', label: 'Answers within', kind: 'duration', isHalf: true, placeholder: '5', hint: 'Seconds' },
          { key: '/retries', label: 'Tries again after a timeout', kind: 'number', isHalf: true, placeholder: '2' }, { key: '/consecutive_down', label: 'Failures until it is down', kind: 'number', isHalf: true, placeholder: '1' }, { key: '/consecutive_up', label: 'Passes until it is up', kind: 'number', isHalf: true, placeholder: '1' },
        ] },
      ],
    }),
    effects: ({ after, isNew: added }) => [added ? 'A pool has to name it before it probes anything.' : `${users().length ? `${count(users().length, 'pool')} ${users().length === 1 ? 'is' : 'are'} probed so` : hidden.size ? 'Pools are not shown' : 'No pool has it'}; a pool’s origins keep their state until they are probed anew.`, `It takes up to ${dur(noticing(after))} to notice that an origin is gone.`],
    saved: (result, added) => (added ? go(`/balancing/monitors/${result.id}`) : reopen()),
  });
  function users() { return isNew ? [] : pools.filter((pool) => pool.value.monitor === edit?.stands?.key); }
  const found = h('div');
  const which = h('select', { class: 'pick', 'aria-label': 'Pool to try it with' }, pools.map((pool) => h('option', { value: pool.id }, pool.name)));
  const trial = h('section', {}, h('div', { class: 'sec' }, h('h2', { class: 'grow' }, 'Try it'), pools.length > 0 && which, button('Probe once', () => attempt(edit.form.value, which.value, found))), h('p', { class: 'soft pad' }, pools.length ? 'The origins of a pool are probed once as the form says now. Nothing that is served changes.' : hidden.size ? mayNot('pools') : 'There is no pool to try it with.'), found);
  const name = isNew ? 'Add a monitor' : edit.stands.name;
  return { title: name, crumbs: BACK, node: [h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, h('bdi', {}, name)), h('p', { class: 'lede' }, isNew ? 'How origins are probed, and how many results make a verdict.' : users().length ? `Pools: ${users().map((pool) => pool.name).join(', ')}.` : none)), h('div', { class: 'acts' }, !isNew && !edit.isReadonly && deleting({ noun: 'monitor', name, path: path(params.id), done: () => go('/balancing') }))), edit.node, trial] };
}

async function attempt(value, pool, node) {
  const { id, created_on, modified_on, ...body } = value;
  put(node, bones(2));
  try {
    const begun = await api.post(`/accounts/{account}/load_balancers/pools/${pool}/preview`, body);
    for (let looks = 0; looks < MOST_LOOKS; looks++) {
      await new Promise((resolve) => { setTimeout(resolve, LOOK_MS); });
      const told = (await api.get(`/accounts/{account}/load_balancers/preview/${begun.preview_id}`))[pool];
      if (!told) continue;
      const rows = told.origins.flatMap((each) => Object.entries(each));
      put(node, h('table', {}, h('caption', { class: 'vh' }, 'What the probes found'), h('thead', {}, h('tr', {}, ['', 'Origin', 'Found', 'RTT'].map((text, i) => h('th', { scope: 'col', class: i === 3 ? 'num' : null }, text || h('span', { class: 'vh' }, 'State'))))), h('tbody', {}, rows.map(([address, result]) => h('tr', {}, h('td', {}, mark(result.healthy ? 'ok' : 'failed', result.healthy ? 'passed' : 'failed')), h('td', {}, h('bdi', {}, address)), h('td', { class: result.healthy ? 'soft' : 't-failed' }, result.healthy ? `answers as it should${result.response_code ? `, ${result.response_code}` : ''}` : [result.failure_reason, result.failure_detail && h('div', { class: 'small quiet' }, result.failure_detail)]), h('td', { class: 'num' }, String(result.rtt || '').replace('ms', `${NB}ms`)))))));
      return;
    }
    put(node, failure({ text: 'The probes did not end in time.' }));
  } catch (error) {
    put(node, failure({ text: sentence(error) }));
  }
}

async function group({ params }) {
  const isNew = params.id === 'new';
  const path = (id) => `/accounts/{account}/load_balancers/monitor_groups/${id}`;
  const { hidden, monitors = [] } = await parts({ monitors: objects('monitors') });
  const edit = await editor({
    section: 'monitor_groups', noun: 'monitor group', id: isNew ? '' : params.id, path, scope: () => '/accounts/{account}', collection: () => '/accounts/{account}/load_balancers/monitor_groups',
    initial: { description: '', members: [] },
    layout: ({ byName }) => ({ without: ['/account', '/name'], sections: [{ title: 'Group', fields: [{ key: '/description', label: 'What it is called', kind: 'text' },
      { key: '/members', label: 'Monitors', hint: hidden.size ? mayNot('monitors') : undefined, kind: 'objects', one: 'monitor', add: 'Add a monitor', blank: { enabled: true }, without: ['/monitor'], fields: [{ key: byName ? '/monitor' : '/monitor_id', label: 'Monitor', kind: 'select', none: 'choose one', options: monitors.map((each) => [byName ? each.key : each.id, each.name]) }, { key: '/must_be_healthy', label: 'Must be healthy', kind: 'switch' }, { key: '/monitoring_only', label: 'Shown only, counts for nothing', kind: 'switch' }, { key: '/enabled', label: 'In use', kind: 'switch', default: true }] }] }] }),
    effects: () => ['Pools with this group go by all of its monitors together.'],
    saved: (result, added) => (added ? go(`/balancing/groups/${result.id}`) : reopen()),
  });
  const name = isNew ? 'Add a monitor group' : edit.stands.value.description || edit.stands.name;
  return { title: name, crumbs: BACK, node: [h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, h('bdi', {}, name)), h('p', { class: 'lede' }, 'Monitors that decide together on the origins of pools.')), h('div', { class: 'acts' }, !isNew && !edit.isReadonly && deleting({ noun: 'monitor group', name, path: path(params.id), done: () => go('/balancing') }))), edit.node] };
}
