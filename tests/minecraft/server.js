// A flying-squid server: node server.js PORT
const mc = require('flying-squid')

const server = mc.createMCServer({
  host: '127.0.0.1',
  port: Number(process.argv[2]),
  version: '1.16.5',
  motd: 'gsmon',
  'online-mode': false,
  'max-players': 20,
  'max-entities': 100,
  'view-distance': 2,
  'everybody-op': true,
  'player-list-text': { header: '', footer: '' },
  logging: true,
  gameMode: 1,
  difficulty: 0,
  generation: { name: 'superflat', options: { worldHeight: 80 } },
  kickTimeout: 10000,
  plugins: {},
  modpe: false
})
server.on('error', error => { console.error(error); process.exit(1) })
