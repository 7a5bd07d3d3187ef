"""What a hostile page tries, and every spelling of this machine's loopback: shared by the tests of the gateway and of the whole product."""

LOOPBACK = [
    "127.0.0.1",
    "localhost",
    "0.0.0.0",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "localhost.",
    "foo.localhost",
]

# Every way to make a browser send something to ORIGIN (http or https) or SOCKET (ws or wss).
ATTACKS = """
const settle = (promise, ms) => Promise.race([promise, new Promise(done => setTimeout(() => done('late'), ms))]).then(String, String);
const event = (target, ...names) => new Promise(done => names.forEach(name => target['on' + name] = () => done(name)));
const add = (tag, attributes) => {
  const element = Object.assign(document.createElement(tag), attributes);
  const done = event(element, 'load', 'error');
  document.body.append(element);
  return done;
};
const inWorker = (kind, url) => {
  const code = `const go = port => fetch('${url}', {mode: 'no-cors'}).then(() => port.postMessage('done'), () => port.postMessage('failed'));`
    + (kind === 'shared' ? 'onconnect = e => go(e.ports[0]);' : 'go(self);');
  const source = URL.createObjectURL(new Blob([code], {type: 'text/javascript'}));
  if (kind === 'dedicated') return event(new Worker(source), 'message', 'error');
  const worker = new SharedWorker(source);
  worker.port.start();
  return event(worker.port, 'message');
};
async function attack(host, port) {
  const at = `${host}:${port}`, here = location.protocol === 'https:' ? 's' : '';
  const results = {};
  const run = (name, start, ms = 4000) => { let promise; try { promise = Promise.resolve(start()); } catch (error) { promise = Promise.reject(error); }
    return settle(promise, ms).then(result => results[name] = result); };
  const jobs = [];
  for (const s of new Set(['', here])) {
    const origin = `http${s}://${at}`;
    jobs.push(
      run('fetch' + s, () => fetch(`${origin}/fetch`, {mode: 'no-cors'})),
      run('post' + s, () => fetch(`${origin}/post`, {mode: 'no-cors', method: 'POST', body: 'x'.repeat(5000)})),
      run('preflight' + s, () => fetch(`${origin}/cors`, {headers: {'X-Custom': '1'}})),
      run('keepalive' + s, () => fetch(`${origin}/keepalive`, {mode: 'no-cors', keepalive: true})),
      run('xhr' + s, () => { const x = new XMLHttpRequest(); x.open('GET', `${origin}/xhr`); x.send(); return event(x, 'load', 'error'); }),
      run('redirect' + s, () => fetch(`/redirect?to=${encodeURIComponent(origin + '/redirected')}`, {mode: 'no-cors'})),
      run('img' + s, () => add('img', {src: `${origin}/img`})),
      run('redirected img' + s, () => add('img', {src: `/redirect?to=${encodeURIComponent(origin + '/img')}`})),
      run('script' + s, () => add('script', {src: `${origin}/script`})),
      run('style' + s, () => add('link', {rel: 'stylesheet', href: `${origin}/style`})),
      run('preconnect' + s, () => add('link', {rel: 'preconnect', href: origin})),
      run('dns-prefetch' + s, () => add('link', {rel: 'dns-prefetch', href: origin})),
      run('prefetch' + s, () => add('link', {rel: 'prefetch', href: `${origin}/prefetch`})),
      run('frame' + s, () => add('iframe', {src: `${origin}/frame`})),
      run('redirected frame' + s, () => add('iframe', {src: `/redirect?to=${encodeURIComponent(origin + '/frame')}`})),
      run('meta refresh' + s, () => add('iframe', {srcdoc: `<meta http-equiv=refresh content="0;url=${origin}/meta">`})),
      run('form' + s, () => add('iframe', {srcdoc: `<form method=post action="${origin}/form"></form><script>document.forms[0].submit()<\\/script>`})),
      run('ping' + s, () => { const a = Object.assign(document.createElement('a'), {href: '#', ping: `${origin}/ping`}); document.body.append(a); a.click(); return 'sent'; }),
      run('beacon' + s, () => navigator.sendBeacon(`${origin}/beacon`, 'x')),
      run('events' + s, () => { const e = new EventSource(`${origin}/events`); return event(e, 'open', 'error').finally(() => e.close()); }),
      run('audio' + s, () => event(Object.assign(new Audio(), {src: `${origin}/audio`}), 'error', 'loadeddata')),
      run('dedicated' + s, () => inWorker('dedicated', `${origin}/dedicated`)),
      run('shared' + s, () => inWorker('shared', `${origin}/shared`)),
      run('ws' + s, () => event(new WebSocket(`ws${s}://${at}/ws`), 'open', 'error')),
      run('redirected ws' + s, () => event(new WebSocket(`ws${here}://${location.host}/redirect?to=${encodeURIComponent(`ws${s}://${at}/ws`)}`), 'open', 'error')),
    );
  }
  jobs.push(
    run('webtransport', () => { const t = new WebTransport(`https://${at}/wt`); return t.ready; }),
    run('service worker', async () => {
      if (!navigator.serviceWorker) return 'no service worker here';
      const registration = await navigator.serviceWorker.register(`/worker.js?to=${encodeURIComponent(`http${here}://${at}/service`)}`, {scope: `/${encodeURIComponent(at)}/`});
      await new Promise(done => { const w = registration.installing; if (!w) return done(); w.onstatechange = () => w.state === 'activated' || w.state === 'redundant' ? done() : 0; });
      return 'installed';
    }),
    run('rtc', async () => {
      const peer = new RTCPeerConnection({iceServers: [{urls: [`stun:${at}`]}, {urls: [`turn:${at}?transport=udp`, `turn:${at}?transport=tcp`], username: 'u', credential: 'p'}]});
      const candidates = [];
      peer.onicecandidate = e => e.candidate && candidates.push(e.candidate.candidate);
      peer.createDataChannel('x');
      await peer.setLocalDescription(await peer.createOffer());
      await settle(new Promise(done => peer.onicegatheringstatechange = () => peer.iceGatheringState === 'complete' && done()), 3000);
      return JSON.stringify(candidates);
    }, 60000),  // its answer counts: on a busy machine it may take long
  );
  await Promise.all(jobs);
  return results;
}
"""
