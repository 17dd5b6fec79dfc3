import assert from 'node:assert/strict';
import test from 'node:test';
import { bytesOf, decode } from '../../js/analytics/packet.js';

const frame = (text) => bytesOf(text.replace(/\s/g, ''));
const told = (bytes) => Object.fromEntries(decode(bytes).map(({ name, fields }) => [name, Object.fromEntries(fields.map((one) => [one.name, one.value]))]));

test('a DNS answer over UDP and IPv4', () => {
  const bytes = frame(`00163e5e6c01 00163eaabbcc 0800 4500 0264 3a41 4000 33 11 1c7e c6336435 c0000201 0035 6987 0250 9b02
    7f3a 8180 0001 0016 0000 0001 07 6578616d706c65 03 636f6d 00 00ff 0001`);
  const layers = told(bytes);
  assert.equal(layers.IPv4.source, '198.51.100.53');
  assert.equal(layers.IPv4.length, '612');
  assert.equal(layers.IPv4.flags, 'do not fragment');
  assert.equal(layers.UDP['source port'], '53');
  assert.equal(layers.UDP.checksum, '0x9b02');
  assert.equal(layers.DNS['answer to'], 'ANY example.com');
  assert.equal(layers.DNS.answers, '22');
  for (const { fields } of decode(bytes)) for (const one of fields) assert.ok(one.at >= 0 && one.at + one.size <= bytes.length, one.name);
});

test('TCP over IPv6 with a VLAN, and where a field stands', () => {
  const bytes = frame(`00163e5e6c01 00163eaabbcc 8100 002a 86dd 60000000 0014 06 40 20010db8005300000000000000000001 20010db8000100000000000000000001
    c350 01bb 00000001 00000002 5012 ffff 1234 0000`);
  const layers = told(bytes);
  assert.equal(layers.Ethernet.VLAN, '42');
  assert.equal(layers.IPv6.source, '2001:db8:53::1');
  assert.equal(layers.IPv6['hop limit'], '64');
  assert.equal(layers.TCP.flags, 'syn ack');
  assert.equal(layers.TCP['destination port'], '443');
  const port = decode(bytes).find((one) => one.name === 'TCP').fields.find((one) => one.name === 'destination port');
  assert.deepEqual([...bytes.slice(port.at, port.at + port.size)], [0x01, 0xbb]);
  assert.deepEqual(port.filter, ['destination_port', 443]);
});

test('a fragment, a packet without Ethernet, and what is cut anywhere', () => {
  const whole = frame(`00163e5e6c01 00163eaabbcc 0800 4500 0264 3a41 2010 33 11 1c7e c6336435 c0000201 0035 6987 0250 9b02`);
  assert.equal(told(whole).IPv4.flags, 'fragment at 128, more follow');
  assert.equal(told(whole).UDP, undefined);
  const bare = frame(`4500 001c 0000 0000 40 01 0000 c6336435 c0000201 0800 f7ff 0000 0000`);
  assert.equal(told(bare).ICMP.type, '8');
  for (let size = 0; size < whole.length; size++) decode(whole.slice(0, size));
  for (let i = 0; i < 200; i++) decode(Uint8Array.from({ length: i }, (_, at) => (at * 37 + i * 11) & 255));
});

test('bytes come as hexadecimal or as base64', () => {
  assert.deepEqual([...bytesOf('00ff10')], [0, 255, 16]);
  assert.deepEqual([...bytesOf('AP8Q')], [0, 255, 16]);
  assert.deepEqual([...bytesOf('')], []);
  assert.deepEqual([...bytesOf('%%%')], []);
});
