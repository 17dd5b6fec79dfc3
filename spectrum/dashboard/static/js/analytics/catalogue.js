// What can be asked: metrics and dimensions, with the words of the page. Names are those of the API (docs/analytics.md).

const SECOND = '/s';
const share = (key, label, name, look) => ({ key, label, name, table: 'events', additive: true, unit: '', rateUnit: SECOND, factor: 1, ...look });
const traffic = (key, label, name) => ({ key, label, name, table: 'events', additive: true, unit: 'B', rateUnit: 'bit/s', factor: 8 });
const time = (key, label) => ({ key, label, name: `${key}Median`, table: 'events', additive: false, percentiles: true, unit: 'ms', rateUnit: 'ms', factor: 1 });

/** Metrics: `name` in the API; `additive`: parts of a sum; rates are `factor` times the sum by second, in `rateUnit`. */
export const METRICS = [
  { group: 'Sessions', of: [
    share('sessions', 'sessions', 'sessions', { parts: true }),
    share('failed', 'failed sessions', 'failed', { outcome: 'failed' }),
    share('refused', 'refused sessions', 'refused', { outcome: 'refused' }),
    { key: 'clients', label: 'distinct clients', name: 'clients', table: 'events', additive: false, unit: '', rateUnit: '', factor: 1 },
  ] },
  { group: 'Traffic', of: [
    traffic('bits', 'traffic both ways', 'bytes'), traffic('in', 'traffic from clients', 'bytesIngress'), traffic('out', 'traffic to clients', 'bytesEgress'),
    { key: 'datagrams', label: 'datagrams (UDP)', name: 'packets', table: 'events', additive: true, unit: '', rateUnit: 'pps', factor: 1 },
  ] },
  { group: 'Times', of: [time('connect', 'time to connect'), time('duration', 'duration of sessions'), time('clientRtt', 'RTT of clients'), time('originRtt', 'RTT of origins')] },
  { group: 'Packets at the interface, sampled', of: [
    { key: 'packets', label: 'packets', name: 'packets', table: 'packets', additive: true, unit: '', rateUnit: 'pps', factor: 1 },
    { key: 'packetBits', label: 'bits', name: 'bits', table: 'packets', additive: true, unit: 'bit', rateUnit: 'bit/s', factor: 1 },
  ] },
];
const BY_KEY = new Map(METRICS.flatMap((one) => one.of).map((one) => [one.key, one]));
export const metric = (key) => BY_KEY.get(key) || BY_KEY.get('sessions');

/** Percentiles of times: the end of a metric's name, and what to call it. */
export const PERCENTILES = [{ key: '99th', label: '99th percentile' }, { key: '90th', label: '90th percentile' }, { key: 'Median', label: 'median' }];

const events = (key, label, more = {}) => ({ key, label, ...more });
const DIMENSIONS = {
  events: [
    events('outcome', 'outcome'), events('app', 'app'), events('reason', 'reason'), events('origin', 'origin'),
    events('country', 'client country'), events('asn', 'client AS', { number: true }), events('client_ip', 'client address', { address: true }),
    events('node', 'node'), events('client_prefix', 'client network', { address: true }), events('protocol', 'protocol'), events('edge_port', 'port', { number: true }),
    events('client_port', 'client port', { number: true }), events('pool', 'pool'), events('load_balancer', 'load balancer'),
    events('tls_version', 'TLS version'), events('sni', 'server name'), events('access_rule', 'access rule'), events('limit_hit', 'limit'),
    events('tls_error', 'TLS error'), events('ip_version', 'IP version', { number: true }), events('event', 'event'), events('status', 'status', { number: true }), events('colo', 'location'),
    events('origin_ip', 'origin address', { address: true }), events('edge_ip', 'edge address', { address: true }), events('session', 'session', { single: true }),
  ],
  packets: [
    events('verdict', 'because of'), events('outcome', 'outcome'), events('app', 'app'), events('source_country', 'source country'),
    events('source_asn', 'source AS', { number: true }), events('source_ip', 'source address', { address: true }), events('source_port', 'source port', { number: true }),
    events('destination_port', 'destination port', { number: true }), events('length', 'packet size', { number: true }), events('tcp_flags', 'TCP flags'),
    events('protocol', 'protocol'), events('ttl', 'TTL', { number: true }), events('source_prefix', 'source network', { address: true }),
    events('destination_ip', 'destination address', { address: true }), events('node', 'node'), events('ip_version', 'IP version', { number: true }),
  ],
};
/** Dimensions that rows can be grouped by; `single` ones are only filters. */
export const dimensions = (table) => DIMENSIONS[table];
export const dimension = (table, key) => DIMENSIONS[table].find((one) => one.key === key) || { key, label: key.replaceAll('_', ' ') };

/** The dimensions whose largest values stand below the chart: the first eight at once. */
export const TOPS = {
  events: ['app', 'reason', 'origin', 'node', 'country', 'asn', 'client_ip', 'edge_port', 'protocol', 'pool', 'tls_version', 'access_rule', 'limit_hit', 'client_prefix', 'sni', 'client_port'],
  packets: ['source_country', 'source_asn', 'source_ip', 'destination_port', 'source_port', 'length', 'verdict', 'node', 'app', 'protocol', 'tcp_flags', 'ttl'],
};
export const TOPS_AT_ONCE = 8;

/** Periods to compare with. */
export const PERIODS = [{ key: 'day', label: 'the day before' }, { key: 'week', label: 'the week before' }, { key: 'period', label: 'the period before' }, { key: '', label: 'nothing' }];

const NONE = { app: 'no app', reason: 'still open', origin: 'no origin', country: 'unknown', asn: 'unknown', client_ip: 'several clients', client_prefix: 'several clients', tls_version: 'none',
  source_country: 'unknown', source_asn: 'unknown', tcp_flags: 'none' };
const SIZES = ['client_port', 'edge_port', 'source_port', 'destination_port'];

/** A value of a dimension in words: an AS number has its prefix, an unknown value says so. */
export function valueLabel(key, value) {
  if (value === null) return 'others';
  if (value === '' || ((key === 'asn' || key === 'source_asn' || SIZES.includes(key)) && value === 0)) return NONE[key] || 'none';
  if (key === 'asn' || key === 'source_asn') return `AS${value}`;
  if (key === 'ip_version') return `IPv${value}`;
  return String(value);
}
