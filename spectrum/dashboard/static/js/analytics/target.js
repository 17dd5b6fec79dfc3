// The target of an attack and its time, as Analytics asks for them. Plain data, no document.
import { seconds } from '../format.js';

const LEAST_BESIDE_S = 60, SHARE_BESIDE = 0.1;

/** The filters of an attack's target, as those of Analytics. */
export function targetFilters({ destination, destination_port: port, protocol }) {
  const of = (dimension, value, op = '=') => ({ dimension, op, values: [value] });
  return [destination && of('destination_ip', destination, destination.includes('/') ? 'prefix' : '='), port && of('destination_port', port), protocol && of('protocol', protocol)].filter(Boolean);
}

/** The time of an attack, with some beside it: [since, until], in seconds since 1970. */
export function timeOf({ began, ended }, now = Date.now() / 1000) {
  const since = seconds(began), until = ended ? seconds(ended) : now, beside = Math.max(LEAST_BESIDE_S, (until - since) * SHARE_BESIDE);
  return [since - beside, Math.min(until + beside, now)];
}
