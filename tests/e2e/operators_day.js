// An operator's day with Cloudflare's official TypeScript client: CLOUDFLARE_BASE_URL, CLOUDFLARE_API_TOKEN and the
// port of an origin, a port to listen on. Prints what was found, as JSON.
const { Cloudflare, BadRequestError } = require('cloudflare');
const [origin, port] = process.argv.slice(2).map(Number);
const client = new Cloudflare({ maxRetries: 0 });
const all = async (pages) => {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
};
const refused = async (call) => {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof BadRequestError)) throw error;
    return [error.status, error.errors[0].code, error.errors[0].source?.pointer];
  }
  return [];
};

(async () => {
  const found = { verified: (await client.user.tokens.verify()).status };
  const [account] = await all(client.accounts.list());
  const [zone] = await all(client.zones.list({ name: 'example.com' }));
  const ofAccount = { account_id: account.id }, ofZone = { zone_id: zone.id };
  const { monitors, pools } = client.loadBalancers;
  const monitor = await monitors.create({ ...ofAccount, type: 'tcp', port: 0, interval: 1, timeout: 1, description: 'echo' });
  const origins = [{ name: 'a', address: '127.0.0.1', port: origin }];
  const pool = await pools.create({ ...ofAccount, name: 'eu', monitor: monitor.id, origins });
  const balancer = await client.loadBalancers.create({ ...ofZone, name: 'lb.example.com', default_pools: [pool.id], fallback_pool: pool.id });
  const body = { ...ofZone, protocol: `tcp/${port}`, dns: { type: 'CNAME', name: 'echo.example.com' }, traffic_type: 'direct', ip_firewall: true };
  const app = await client.spectrum.apps.create({ ...body, origin_dns: { name: 'lb.example.com' }, origin_port: port });
  found.read = (await client.spectrum.apps.get(app.id, ofZone)).origin_dns.name;
  found.listed = (await all(client.spectrum.apps.list({ ...ofZone, per_page: 20 }))).length;
  const direct = { ...body, origin_direct: [`tcp://127.0.0.1:${origin}`] };
  found.changed = (await client.spectrum.apps.update(app.id, direct)).origin_direct;
  found.wrong = await refused(() => client.spectrum.apps.create({ ...direct, protocol: 'tcp/0' }));
  found.used = await refused(() => pools.delete(pool.id, ofAccount));
  const rule = await client.firewall.accessRules.create({ ...ofAccount, mode: 'block', configuration: { target: 'ip', value: '198.51.100.7' } });
  found.rules = (await all(client.firewall.accessRules.list(ofAccount))).map((one) => one.configuration.value);
  found.rule = (await client.firewall.accessRules.delete(rule.id, ofAccount)).id === rule.id;
  const list = await client.rules.lists.create({ ...ofAccount, kind: 'ip', name: 'banned' });
  await client.rules.lists.items.create(list.id, { ...ofAccount, body: [{ ip: '192.0.2.7' }] });
  found.items = (await all(client.rules.lists.items.list(list.id, ofAccount))).map((one) => one.ip);
  await client.rules.lists.delete(list.id, ofAccount);
  found.packs = (await all(client.ssl.certificatePacks.list({ ...ofZone, status: 'all' }))).length;
  await client.spectrum.apps.delete(app.id, ofZone);
  await client.loadBalancers.delete(balancer.id, ofZone);
  await pools.delete(pool.id, ofAccount);
  await monitors.delete(monitor.id, ofAccount);
  found.left = (await all(pools.list(ofAccount))).length;
  console.log(JSON.stringify(found));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
