// Runs in the page's own world, before its scripts. What isolated pages never get (camera, microphone, screen, location, notifications,
// clipboard, devices) Chromium denies by itself and without a word; this only tells our other script that the page asked, so that the
// person can be told. A page can see this and can send the same event: all it gets by that is a note that is shown now and then.
(() => {
  'use strict';
  const tell = kind => { try { document.dispatchEvent(new CustomEvent('isolation-asked', { detail: String(kind) })); } catch { /* no document any more */ } };
  const { apply } = Reflect;
  const watch = (holder, name, kinds) => {
    const real = holder && Object.getOwnPropertyDescriptor(holder, name);
    if (!real || typeof real.value !== 'function' || !real.configurable) return;
    Object.defineProperty(holder, name, {
      ...real,
      value: new Proxy(real.value, {
        apply(target, self, given) {
          for (const kind of typeof kinds === 'function' ? kinds(given[0]) : [kinds]) tell(kind);
          return apply(target, self, given);
        },
      }),
    });
  };
  const of = name => globalThis[name]?.prototype;
  watch(of('MediaDevices'), 'getUserMedia', wanted => ['video', 'audio'].filter(name => { try { return wanted?.[name]; } catch { return false; } }).map(name => (name === 'video' ? 'camera' : 'microphone')));
  watch(of('MediaDevices'), 'getDisplayMedia', 'screen');
  watch(of('Geolocation'), 'getCurrentPosition', 'location');
  watch(of('Geolocation'), 'watchPosition', 'location');
  watch(globalThis.Notification, 'requestPermission', 'notifications');
  watch(of('PushManager'), 'subscribe', 'notifications');
  watch(of('Clipboard'), 'read', 'clipboard');
  watch(of('Clipboard'), 'readText', 'clipboard');
  watch(of('Navigator'), 'requestMIDIAccess', 'midi');
  watch(of('USB'), 'requestDevice', 'devices');
  watch(of('HID'), 'requestDevice', 'devices');
  watch(of('Serial'), 'requestPort', 'devices');
  watch(of('Bluetooth'), 'requestDevice', 'devices');
})();
