// What MQTTX, MQTT Explorer, Node-RED and Zigbee2MQTT do through MQTT.js: subscribe, publish at every QoS, retain.
// node mqttjs.cjs <folder with node_modules> <url> <version>  →  one line of JSON
const mqtt = require(process.argv[2] + '/node_modules/mqtt')
const protocolVersion = Number(process.argv[4])

async function story() {
  const client = await mqtt.connectAsync(process.argv[3], { protocolVersion, keepalive: 60 })
  const got = []
  const all = new Promise((resolve) => {
    client.on('message', (topic, payload, packet) => {
      got.push([topic, payload.toString(), packet.qos, packet.retain, packet.properties?.userProperties?.k ?? null])
      if (got.length === 5) resolve()
    })
  })
  await client.publishAsync('js/kept', 'old', { qos: 1, retain: true })
  const granted = await client.subscribeAsync('js/#', { qos: 2 })
  const properties = protocolVersion === 5 ? { userProperties: { k: 'v' } } : undefined
  for (const qos of [0, 1, 2]) await client.publishAsync(`js/${qos}`, 'x'.repeat(300), { qos, properties })
  await client.publishAsync('js/unicode/°', 'ä', { qos: 1 })
  await all
  await client.unsubscribeAsync('js/#')
  await client.endAsync()
  got.sort()
  console.log(JSON.stringify({ granted: granted.map((one) => one.qos), got }))
}

story().catch((error) => { console.error(error); process.exit(1) })
