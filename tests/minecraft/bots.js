// Bots that do as they are told on standard input, and say what happens to them:
//   join NAME ADDRESS   connect from a local address; says `spawned NAME LOCAL-PORT`
//   say NAME TEXT       chat, or a command with `/` in front
//   quit NAME           leave; says `ended NAME`, as does whoever is kicked
// node bots.js PORT
const net = require('net')
const readline = require('readline')
const mineflayer = require('mineflayer')

const port = Number(process.argv[2])
const bots = {}
const lines = readline.createInterface({ input: process.stdin })
lines.on('close', () => process.exit(0))
lines.on('line', line => {
  const [, verb, name, rest] = line.match(/^(\w+) (\w+) ?(.*)$/)
  if (verb === 'join') {
    const stream = net.connect({ host: '127.0.0.1', port, localAddress: rest })
    const bot = mineflayer.createBot({ username: name, version: '1.16.5', auth: 'offline', host: '127.0.0.1', port, stream })
    bots[name] = bot
    let local
    stream.on('connect', () => { local = stream.localPort })
    bot.once('spawn', () => {
      console.log(`spawned ${name} ${local}`)
      bot.setControlState('forward', true)
    })
    bot.on('end', () => console.log(`ended ${name}`))
    bot.on('error', error => console.log(`error ${name} ${error.message}`))
  } else if (verb === 'say') bots[name].chat(rest)
  else if (verb === 'quit') bots[name].quit()
})
