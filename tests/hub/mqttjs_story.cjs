// A session that lasts: first it subscribes, publishes, and its power fails; then it comes back for what it is owed.
// node mqttjs_story.cjs <folder with node_modules> <url> <version> first|second  →  one line of JSON
const mqtt = require(process.argv[2] + '/node_modules/mqtt')
const protocolVersion = Number(process.argv[4])
const first = process.argv[5] === 'first'

async function story() {
  const got = []
  let enough = () => {}
  const client = mqtt.connect(process.argv[3], {
    protocolVersion, keepalive: 60, clientId: 'story', clean: false, username: 'dev', password: 'secret',
    properties: protocolVersion === 5 ? { sessionExpiryInterval: 3600 } : undefined,
    will: { topic: 'dev/will', payload: Buffer.from('gone'), qos: 1, retain: false }
  })
  const all = new Promise((resolve) => { enough = resolve })
  client.on('message', (topic, payload, packet) => {
    got.push([topic, payload.toString(), packet.qos, packet.retain])
    if (got.length === 4) setTimeout(enough, 200)  // its last PUBCOMP is on its way
  })
  const present = await new Promise((resolve) => client.on('connect', (connack) => resolve(connack.sessionPresent)))
  if (first) {
    await client.subscribeAsync('dev/#', { qos: 2 })
    for (const qos of [0, 1, 2]) await client.publishAsync(`dev/a/${qos}`, 'x', { qos })
  }
  await all
  process.stdout.write(JSON.stringify({ present, got }) + '\n', () => process.exit(0))  // without a word to the server
}

story().catch((error) => { console.error(error); process.exit(1) })
