// What usually stands behind an app: the API has the ports, idle times and monitors, here are the words.
import { api } from './api.js';

// In the order in which they are offered; a preset that is not named here comes behind them by its own name.
const WORDS = [
  ['ssh', 'SSH'], ['rdp', 'RDP'], ['minecraft', 'Minecraft Java'], ['minecraft-bedrock', 'Minecraft Bedrock'], ['postgresql', 'PostgreSQL'], ['mysql', 'MySQL'], ['dns', 'DNS'], ['mqtt', 'MQTT'], ['smtp', 'SMTP'],
  ['wireguard', 'WireGuard'], ['sip', 'SIP'], ['https', 'HTTPS'], ['http', 'HTTP'], ['http3', 'HTTP/3'], ['redis', 'Redis'], ['imap', 'IMAP'], ['imaps', 'IMAP over TLS'], ['vnc', 'VNC'], ['openvpn', 'OpenVPN'], ['ldap', 'LDAP'], ['dns-tcp', 'DNS over TCP'], ['source-game', 'Source games'],
];
const LABELS = new Map(WORDS);
const ORDER = new Map(WORDS.map(([name], i) => [name, i]));
let known;

export const presetLabel = (name) => LABELS.get(name) || name;

// [{ name, label, protocol, transport, port, idle, monitor }], the usual ones first.
export async function presets() {
  known ||= await api.get('/spectrum/presets');
  return known
    .map((one) => ({ ...one, label: presetLabel(one.name), transport: one.protocol.split('/')[0], port: one.protocol.split('/')[1] }))
    .sort((a, b) => (ORDER.get(a.name) ?? 99) - (ORDER.get(b.name) ?? 99));
}
