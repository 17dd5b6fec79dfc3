// Decodes the beginning of a frame, as far as it goes: layers with their fields, and where each stands. No document.

const IP = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmpv6', 47: 'gre' };
const FLAGS = ['fin', 'syn', 'rst', 'psh', 'ack', 'urg', 'ece', 'cwr'];
const DNS_TYPES = { 1: 'A', 2: 'NS', 5: 'CNAME', 6: 'SOA', 12: 'PTR', 15: 'MX', 16: 'TXT', 28: 'AAAA', 33: 'SRV', 255: 'ANY' };

/** Bytes of a header as the API has it: hexadecimal, or base64. */
export function bytesOf(text) {
  if (!text) return new Uint8Array();
  if (/^([0-9a-f]{2})+$/i.test(text)) return Uint8Array.from(text.match(/../g), (one) => parseInt(one, 16));
  try { return Uint8Array.from(atob(text), (one) => one.charCodeAt(0)); } catch { return new Uint8Array(); }
}

/** Layers of a frame: [{name, fields: [{name, value, at, size, filter?}]}]; `at` and `size` are bytes, `filter` [dimension, value]. */
export function decode(bytes) {
  const layers = [], view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const has = (size) => at + size <= bytes.length, u16 = (i) => view.getUint16(at + i), u8 = (i) => bytes[at + i];
  const field = (name, value, from, size, filter) => ({ name, value: String(value), at: at + from, size, filter });
  let type = ethernet();

  function ethernet() {
    // Without Ethernet (a tunnel, or XDP on a raw device) an IP packet begins at once.
    if (bytes.length >= 20 && (bytes[0] >> 4 === 4 && (bytes[0] & 15) >= 5) && !(bytes.length >= 14 && [0x0800, 0x86dd, 0x8100].includes(view.getUint16(12)))) return 0x0800;
    if (!has(14)) return 0;
    const mac = (i) => [...bytes.slice(i, i + 6)].map(hex).join(':');
    const fields = [field('from', mac(6), 6, 6), field('to', mac(0), 0, 6)];
    let kind = u16(12), size = 14;
    if (kind === 0x8100 && has(18)) { fields.push(field('VLAN', u16(14) & 0xfff, 14, 2)); kind = u16(16); size = 18; }
    layers.push({ name: 'Ethernet', fields });
    at += size;
    return kind;
  }

  function ipv4() {
    if (!has(20)) return null;
    const size = (u8(0) & 15) * 4, flags = u16(6), part = (flags & 0x1fff) * 8, protocol = u8(9);
    const words = part || flags & 0x2000 ? `fragment at ${part}${flags & 0x2000 ? ', more follow' : ''}` : flags & 0x4000 ? 'do not fragment' : 'none';
    layers.push({ name: 'IPv4', fields: [field('source', dotted(12), 12, 4, ['source_ip', dotted(12)]), field('destination', dotted(16), 16, 4, ['destination_ip', dotted(16)]),
      field('length', u16(2), 2, 2, ['length', u16(2)]), field('TTL', u8(8), 8, 1, ['ttl', u8(8)]), field('protocol', IP[protocol] || protocol, 9, 1, ['protocol', IP[protocol] || String(protocol)]),
      field('id', `0x${u16(4).toString(16).padStart(4, '0')}`, 4, 2), field('flags', words, 6, 2), field('DSCP', u8(1) >> 2, 1, 1)] });
    at += size;
    return part ? null : protocol;
  }

  function ipv6() {
    if (!has(40)) return null;
    const protocol = u8(6), source = colons(8), destination = colons(24);
    layers.push({ name: 'IPv6', fields: [field('source', source, 8, 16, ['source_ip', source]), field('destination', destination, 24, 16, ['destination_ip', destination]), field('payload', u16(4), 4, 2),
      field('hop limit', u8(7), 7, 1, ['ttl', u8(7)]), field('next header', IP[protocol] || protocol, 6, 1), field('flow label', `0x${(view.getUint32(at) & 0xfffff).toString(16).padStart(5, '0')}`, 1, 3)] });
    at += 40;
    return protocol;
  }

  function tcp() {
    if (!has(20)) return;
    const flags = FLAGS.filter((_, i) => u8(13) >> i & 1), size = (u8(12) >> 4) * 4;
    layers.push({ name: 'TCP', fields: [field('source port', u16(0), 0, 2, ['source_port', u16(0)]), field('destination port', u16(2), 2, 2, ['destination_port', u16(2)]), field('flags', flags.join(' ') || 'none', 13, 1),
      field('sequence', view.getUint32(at + 4), 4, 4), field('acknowledges', view.getUint32(at + 8), 8, 4), field('window', u16(14), 14, 2), field('checksum', `0x${u16(16).toString(16)}`, 16, 2)] });
    at += size;
  }

  function udp() {
    if (!has(8)) return;
    const ports = [u16(0), u16(2)];
    layers.push({ name: 'UDP', fields: [field('source port', ports[0], 0, 2, ['source_port', ports[0]]), field('destination port', ports[1], 2, 2, ['destination_port', ports[1]]), field('length', u16(4), 4, 2), field('checksum', `0x${u16(6).toString(16).padStart(4, '0')}`, 6, 2)] });
    at += 8;
    if (ports.includes(53) && has(12)) dns();
  }

  function dns() {
    const flags = u16(2), end = bytes.length, fields = [field('flags', `0x${flags.toString(16).padStart(4, '0')}`, 2, 2), field('answers', u16(6), 6, 2)];
    let i = at + 12;
    const labels = [];
    while (i < end && bytes[i] && bytes[i] < 64) { labels.push(String.fromCharCode(...bytes.slice(i + 1, i + 1 + bytes[i]))); i += 1 + bytes[i]; }
    if (i + 3 <= end) fields.unshift(field(flags & 0x8000 ? 'answer to' : 'asks for', `${DNS_TYPES[bytes[i + 1] << 8 | bytes[i + 2]] || bytes[i + 2]} ${labels.join('.') || '.'}`, 12, i + 5 - at - 12));
    layers.push({ name: 'DNS', fields });
    at = end;
  }

  function icmp(name) {
    if (!has(4)) return;
    layers.push({ name, fields: [field('type', u8(0), 0, 1), field('code', u8(1), 1, 1), field('checksum', `0x${u16(2).toString(16)}`, 2, 2)] });
    at += 8;
  }

  function dotted(i) { return [...bytes.slice(at + i, at + i + 4)].join('.'); }
  function colons(i) {
    const groups = Array.from({ length: 8 }, (_, g) => u16(i + 2 * g).toString(16)).join(':');
    const longest = (groups.match(/(?:^|:)0(?::0)+(?=:|$)/g) || []).sort((a, b) => b.length - a.length)[0];
    return longest ? groups.replace(longest, '::').replace(/:{3,}/, '::') : groups;
  }

  const protocol = type === 0x0800 ? ipv4() : type === 0x86dd ? ipv6() : null;
  if (protocol === 6) tcp(); else if (protocol === 17) udp(); else if (protocol === 1) icmp('ICMP'); else if (protocol === 58) icmp('ICMPv6');
  if (at < bytes.length && layers.length) {
    const size = Math.min(16, bytes.length - at);
    layers.push({ name: 'Payload', fields: [{ name: 'begins', value: [...bytes.slice(at, at + size)].map(hex).join(' '), at, size }] });
  }
  return layers;
}

export const hex = (value) => value.toString(16).padStart(2, '0');
