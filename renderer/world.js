// Runs in a world of its own in every frame: it shares the page's DOM, but none of the page's JavaScript can see, change or call it.
// It reports what a screencast does not show (cursor, title, native pop-ups, copied text) and carries out the answers. Everything said
// here is data to the node, checked there: a page that has broken its process could say anything.
(() => {
  'use strict';
  if (globalThis.isolationWorld) return;
  const MAX_OPTIONS = 2000, MAX_SUGGESTIONS = 100, MAX_TEXT = 256 * 1024, PROBE_MS = 30, TOUCHED_MS = 2000;
  const say = (kind, data) => { try { isolationSay(JSON.stringify({ kind, ...data })); } catch { /* the node let go of this frame */ } };
  const top = window === window.top;
  const inner = event => event.composedPath()[0];

  // ---- the caret stands still: a blink is two pictures a second, for as long as a field has the keyboard. A page that wants it to blink can say
  // so. The sheet is the one thing of ours that a page can see and take away; it loses a caret that rests, and no more.
  const calm = new CSSStyleSheet();
  calm.replaceSync(':where(:root) { caret-animation: manual }');
  document.adoptedStyleSheets.push(calm);

  // ---- who has the keyboard: text to paste goes to the frame that said so last
  const here = () => say('here', {});
  addEventListener('focus', here, true);
  addEventListener('mousedown', here, true);

  // ---- places: where something is in this frame as it is shown (a pinch magnifies only the top frame's view)
  const shown = ({ x, y, width = 0, height = 0 }) => {
    const view = top ? visualViewport : null;
    const scale = view ? view.scale : 1;
    return { x: (x - (view ? view.offsetLeft : 0)) * scale, y: (y - (view ? view.offsetTop : 0)) * scale, width: width * scale, height: height * scale };
  };

  // ---- cursor, and where the link under it leads
  let cursor = '', at = null, timer = 0, hint = '';
  const linkOf = path => {
    const link = path.find(node => node instanceof Element && node.matches('a[href], area[href], a[*|href]'));
    if (!link) return '';
    try { return link.href instanceof SVGAnimatedString ? new URL(link.href.baseVal, document.baseURI).href : link.href; } catch { return ''; }
  };
  const hinted = url => { if (url !== hint) say('hint', { text: (hint = url).slice(0, 2048) }); };
  const upward = element => {
    const path = [];
    for (let node = element; node; node = node.parentNode ?? node.host) path.push(node);
    return path;
  };
  const textUnder = (x, y) => {
    const caret = document.caretRangeFromPoint ? document.caretRangeFromPoint(x, y) : null;
    if (!caret || caret.startContainer.nodeType !== Node.TEXT_NODE) return false;
    const around = document.createRange();
    around.selectNodeContents(caret.startContainer);
    for (const box of around.getClientRects()) if (x >= box.left && x <= box.right && y >= box.top && y <= box.bottom) return true;
    return false;
  };
  const probe = () => {
    timer = 0;
    if (!at) return;
    const [x, y] = at;
    let element = document.elementFromPoint(x, y);
    while (element && element.shadowRoot) {
      const deeper = element.shadowRoot.elementFromPoint(x, y);
      if (!deeper || deeper === element) break;
      element = deeper;
    }
    if (!element || /^I?FRAME$/.test(element.tagName)) return;
    hinted(linkOf(upward(element)));
    const style = getComputedStyle(element);
    let name = style.cursor.split(',').pop().trim();
    if (name === 'auto') name = style.userSelect !== 'none' && textUnder(x, y) ? 'text' : 'default';
    if (name !== cursor) say('cursor', { name: cursor = name });
  };
  addEventListener('mousemove', event => { at = [event.clientX, event.clientY]; timer ||= setTimeout(probe, PROBE_MS); }, { capture: true, passive: true });
  addEventListener('mouseout', event => { if (!event.relatedTarget) { cursor = ''; at = null; hinted(''); } }, { capture: true, passive: true });
  addEventListener('focusin', event => { const element = inner(event); if (element instanceof Element && element.matches(':focus-visible')) hinted(linkOf([element])); });
  addEventListener('focusout', () => hinted(''));

  // ---- native pop-ups: never drawn into a screencast, so never opened; the viewer draws its own
  const PICKERS = { date: 'date', time: 'time', 'datetime-local': 'datetime-local', month: 'month', week: 'week', color: 'color' };
  const asked = new Map();
  let count = 0;
  const popup = element => {
    if (!(element instanceof Element)) return null;
    const select = element.closest('select');
    if (select) return !select.disabled && !select.multiple && select.size <= 1 ? select : null;
    const input = element.closest('input');
    return input && PICKERS[input.type] && !input.disabled && !input.readOnly ? input : null;
  };
  const ask = element => {
    const place = shown(element.getBoundingClientRect());
    const id = ++count;
    asked.clear();
    element.focus({ preventScroll: true });
    if (element.tagName === 'SELECT') {
      const indices = [], options = [];
      [...element.options].forEach((option, index) => {
        const group = option.parentElement?.tagName === 'OPTGROUP' ? option.parentElement : null;
        if (option.hidden || options.length >= MAX_OPTIONS) return;
        indices.push(index);
        options.push({
          label: option.label.slice(0, 250), group: group ? group.label.slice(0, 250) : '',
          disabled: option.disabled || !!group?.disabled, selected: option.selected,
        });
      });
      asked.set(id, { element, indices });
      say('select', { id, type: 'options', ...place, options, value: '', low: '', high: '' });
    } else {
      asked.set(id, { element });
      say('select', { id, type: PICKERS[element.type], ...place, options: [], value: element.value.slice(0, 60), low: element.min.slice(0, 60), high: element.max.slice(0, 60) });
    }
    element.addEventListener('blur', () => { if (asked.delete(id)) say('selectClosed', { id }); }, { once: true });
  };
  // A date field is edited in place by keyboard; only its button at the end opens a calendar. A colour field is all button.
  const onButton = (element, event) => {
    if (element.tagName === 'SELECT' || element.type === 'color') return true;
    const box = element.getBoundingClientRect();
    return getComputedStyle(element).direction === 'rtl' ? event.clientX < box.left + 28 : event.clientX > box.right - 28;
  };
  addEventListener('mousedown', event => {
    const element = event.button === 0 && event.isTrusted ? popup(inner(event)) : null;
    if (!element || !onButton(element, event)) return;
    event.preventDefault();
    ask(element);
  }, true);
  addEventListener('click', event => {
    const element = event.isTrusted ? popup(inner(event)) : null;
    if (element && element.tagName !== 'SELECT' && onButton(element, event)) event.preventDefault();
  }, true);
  addEventListener('keydown', event => {
    const element = event.isTrusted ? popup(inner(event)) : null;
    if (!element) return;
    const arrow = event.altKey && (event.key === 'ArrowDown' || event.key === 'ArrowUp');
    const select = element.tagName === 'SELECT';
    const press = event.key === ' ' || (event.key === 'Enter' && (select || element.type === 'color'));
    if (!arrow && event.key !== 'F4' && !press) return;
    event.preventDefault();
    ask(element);
  }, true);
  const answer = (id, values) => {
    const question = asked.get(id);
    asked.delete(id);
    if (!question || !question.element.isConnected || question.element.disabled || !values.length) return;
    const { element, indices, suggested } = question;
    if (suggested) {
      listed = null;
      const value = suggested[Number(values[0])];
      if (value === undefined || element.readOnly || element.value === value) return;
      element.value = value;
    } else if (indices) {
      const index = indices[Number(values[0])];
      const option = element.options[index];
      if (!option || option.disabled || option.parentElement?.disabled || element.selectedIndex === index) return;
      element.selectedIndex = index;
    } else {
      if (element.value === values[0]) return;
      element.value = values[0];
    }
    element.dispatchEvent(new Event('input', { bubbles: true, composed: true }));
    element.dispatchEvent(new Event('change', { bubbles: true }));
  };

  // ---- suggestions of a text field (datalist): a list below the field, while the keyboard stays with the page
  let listed = null;
  const closeList = () => {
    if (listed && asked.delete(listed.id)) say('selectClosed', { id: listed.id });
    listed = null;
  };
  const suggest = (element, chosen = -1) => {
    const typed = element.value.toLowerCase();
    const options = [...element.list?.options ?? []]
      .filter(option => !option.disabled && option.value && [option.value, option.label].some(text => text.toLowerCase().includes(typed)))
      .slice(0, MAX_SUGGESTIONS);
    if (!options.length || (options.length === 1 && options[0].value === element.value)) { closeList(); return; }
    const id = ++count, suggested = options.map(option => option.value);
    asked.clear();
    asked.set(id, { element, suggested });
    listed = { id, element, suggested, chosen };
    say('select', {
      id, type: 'datalist', ...shown(element.getBoundingClientRect()), value: '', low: '', high: '',
      options: options.map((option, index) => ({ label: (option.label && option.label !== option.value ? `${option.value} – ${option.label}` : option.value).slice(0, 250), group: '', disabled: false, selected: index === chosen })),
    });
  };
  const withList = event => {
    const element = event.isTrusted ? inner(event) : null;
    return element instanceof HTMLInputElement && element.list && !element.disabled && !element.readOnly && !PICKERS[element.type] ? element : null;
  };
  addEventListener('input', event => { const element = withList(event); if (element) suggest(element); }, true);
  addEventListener('click', event => { const element = withList(event); if (element && element === active()) suggest(element); }, true);
  addEventListener('focusout', event => { if (listed?.element === inner(event)) closeList(); }, true);
  addEventListener('scroll', event => { if (listed && event.target.contains?.(listed.element)) closeList(); }, { capture: true, passive: true });
  addEventListener('keydown', event => {
    const element = withList(event), open = listed?.element === element ? listed : null;
    if (!element || event.altKey || event.ctrlKey || event.metaKey) return;
    const down = event.key === 'ArrowDown';
    if (down || (open && event.key === 'ArrowUp')) {
      event.preventDefault();
      const last = open ? open.suggested.length - 1 : 0;
      suggest(element, open ? (down ? (open.chosen >= last ? 0 : open.chosen + 1) : open.chosen <= 0 ? last : open.chosen - 1) : -1);
    } else if (open && event.key === 'Enter' && open.chosen >= 0) {
      event.preventDefault();
      const { id, chosen } = open;
      say('selectClosed', { id });
      answer(id, [String(chosen)]);
    } else if (open && event.key === 'Escape') {
      event.preventDefault();
      closeList();
    }
  }, true);

  // ---- clipboard
  const active = () => {
    let element = document.activeElement;
    while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
    return element;
  };
  const selected = () => {
    const element = active();
    if (element && (element.tagName === 'TEXTAREA' || element.tagName === 'INPUT')) {
      if (element.type === 'password') return '';
      try { return element.value.slice(element.selectionStart ?? 0, element.selectionEnd ?? 0); } catch { return ''; }
    }
    return getSelection()?.toString() ?? '';
  };
  const copied = event => {
    // What the page put there itself counts, if it did; else what is selected.
    const text = event.defaultPrevented ? event.clipboardData?.getData('text/plain') ?? '' : selected();
    say('copied', { text: text.length > MAX_TEXT ? '' : text, fits: text.length <= MAX_TEXT });
  };
  addEventListener('copy', copied);
  addEventListener('cut', copied);
  // Editors read pasted text from the event, with its line breaks; where nobody takes it, the node types the text instead.
  const paste = text => {
    const data = new DataTransfer();
    data.setData('text/plain', text);
    const event = new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true, composed: true });
    return !(active() ?? document.body ?? document.documentElement).dispatchEvent(event);
  };

  // ---- which text field has the keyboard, and where its caret is
  const MODES = { tel: 'tel', email: 'email', url: 'url', search: 'search', number: 'decimal', text: 'text', password: 'text' };
  const modeOf = element => {
    if (!(element instanceof HTMLElement) || element.readOnly || element.disabled) return 'off';
    const own = element.tagName === 'INPUT' ? MODES[element.type] : element.tagName === 'TEXTAREA' || element.isContentEditable ? 'text' : undefined;
    return own === undefined ? 'off' : ['none', 'text', 'decimal', 'numeric', 'tel', 'search', 'email', 'url'].includes(element.inputMode) ? element.inputMode : own;
  };
  const caretOf = element => {
    const selection = getSelection();
    if (element.isContentEditable && selection.rangeCount) {
      const box = selection.getRangeAt(0).getClientRects()[0];
      if (box) return box;
    }
    return element.getBoundingClientRect();
  };
  let editing = '{"mode":"off","x":0,"y":0,"width":0,"height":0}', looking = 0;
  const lookAtCaret = () => {
    looking = 0;
    const element = document.hasFocus() ? active() : null;
    const mode = modeOf(element);
    const now = mode === 'off' ? { mode, x: 0, y: 0, width: 0, height: 0 } : { mode, ...shown(caretOf(element)) };
    if (JSON.stringify(now) !== editing) say('editing', JSON.parse(editing = JSON.stringify(now)));
  };
  const caretMoved = () => { looking ||= setTimeout(lookAtCaret, PROBE_MS); };
  for (const name of ['focusin', 'focusout', 'selectionchange', 'scroll', 'focus', 'blur']) addEventListener(name, caretMoved, { capture: true, passive: true });
  document.addEventListener('selectionchange', caretMoved);

  const reveal = () => active()?.scrollIntoView({ block: 'nearest', inline: 'nearest' });

  // ---- context menu: the page's own if it has one (it then prevents the browser's), else the viewer draws it
  const menus = new Map();
  let touched = -Infinity;
  addEventListener('touchstart', () => { touched = performance.now(); }, { capture: true, passive: true });
  const selectWord = (x, y) => {
    const selection = getSelection();
    if (!selection.isCollapsed || !textUnder(x, y)) return;
    const caret = document.caretRangeFromPoint(x, y);
    if (getComputedStyle(caret.startContainer.parentElement).userSelect === 'none') return;
    selection.setBaseAndExtent(caret.startContainer, caret.startOffset, caret.startContainer, caret.startOffset);
    selection.modify('move', 'backward', 'word');
    selection.modify('extend', 'forward', 'word');
  };
  addEventListener('contextmenu', event => {
    if (!event.isTrusted) return;
    const path = event.composedPath();
    const element = path[0];
    setTimeout(() => {
      if (event.defaultPrevented || !(element instanceof Element)) return;
      const link = linkOf(path);
      const image = element instanceof HTMLImageElement && element.complete && element.naturalWidth > 0 ? element.currentSrc : '';
      // A finger that rests on words picks one, as phones do.
      if (performance.now() - touched < TOUCHED_MS && !link && !image) selectWord(event.clientX, event.clientY);
      const id = ++count;
      menus.clear();
      menus.set(id, { link, image, element });
      say('menu', { id, ...shown({ x: event.clientX, y: event.clientY }), link: link.slice(0, 2048), image: image !== '', editable: modeOf(element) !== 'off' || element.isContentEditable, selection: selected() !== '' });
    });
  }, true);
  // A picture as pixels: drawn here, in the page's own sandboxed process. Another site's can't be read from a canvas; the node then hands its bytes in.
  const pictures = new Map();
  const picture = async (id, base64, most) => {
    const image = base64 === '' ? pictures.get(id) : await createImageBitmap(new Blob([Uint8Array.from(atob(base64), c => c.charCodeAt(0))]));
    const width = image.naturalWidth ?? image.width, height = image.naturalHeight ?? image.height;
    if (width * height > most) return '';
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext('2d').drawImage(image, 0, 0, width, height);
    const png = new Uint8Array(await (await canvas.convertToBlob({ type: 'image/png' })).arrayBuffer());
    let text = '';
    for (let at = 0; at < png.length; at += 32768) text += String.fromCharCode(...png.subarray(at, at + 32768));
    return btoa(text);
  };
  const web = url => /^https?:/.test(url);
  const save = url => {
    // Only the page's own files can be asked for by name; another site's opens in a tab of its own, where its server decides.
    const link = document.createElement('a');
    link.href = url;
    if (new URL(url).origin === location.origin || /^(?:blob|data):/.test(url)) link.download = ''; else { link.target = '_blank'; link.rel = 'noopener'; }
    link.click();
  };
  const menu = (id, action) => {
    const chosen = menus.get(id);
    menus.clear();
    if (!chosen) return;
    const { link, image, element } = chosen;
    if (action === 'open-link' && web(link)) open(link, '_blank', 'noopener');
    else if (action === 'save-link' && (web(link) || link.startsWith('blob:'))) save(link);
    else if (action === 'save-image' && image) save(image);
    else if (action === 'copy-image' && image) { pictures.clear(); pictures.set(id, element); say('picture', { id, url: image }); }
    else if (action === 'select-all') {
      if (modeOf(element) !== 'off' || element.isContentEditable) element.focus({ preventScroll: true });
      document.execCommand('selectAll');
    }
  };

  // ---- full screen: only the top frame speaks of it, for every frame's is its too
  if (top) document.addEventListener('fullscreenchange', () => say('fullscreen', { active: document.fullscreenElement !== null }));
  const leaveFullscreen = () => { if (document.fullscreenElement) document.exitFullscreen(); };

  // What scripts put there (navigator.clipboard.write) brings no copy event. The node looks by itself; here it only learns when.
  // Chromium for Linux says so too when text is selected; the number stays the same then.
  navigator.clipboard?.addEventListener('clipboardchange', event => say('clipboard', { change: String(event.changeId) }));
  const pastePicture = base64 => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(atob(base64), c => c.charCodeAt(0))], 'image.png', { type: 'image/png' }));
    (active() ?? document.body ?? document.documentElement).dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true, composed: true }));
  };

  addEventListener('beforeprint', event => { if (event.isTrusted) say('print', {}); });

  // ---- what the page asked for and does not get, as asks.js in its own world says
  document.addEventListener('isolation-asked', event => { if (typeof event.detail === 'string') say('asked', { what: event.detail.slice(0, 20) }); });

  // ---- the picture of the tab
  if (top) {
    let title = null, icon = null;
    const look = () => {
      if (document.title !== title) { title = document.title; say('title', { text: title.slice(0, 1000) }); }
      if (document.readyState === 'loading' || !/^https?:$/.test(location.protocol)) return;
      const link = document.querySelector('link[rel~="icon" i]');
      const url = link instanceof HTMLLinkElement && link.href ? link.href : new URL('/favicon.ico', location.href).href;
      if (url !== icon) { icon = url; say('icon', { url: url.slice(0, 8192) }); }
    };
    let seen = null;
    const heads = new MutationObserver(() => queueMicrotask(look));
    const watch = () => {
      if (document.head && document.head !== seen) { seen = document.head; heads.observe(seen, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ['href', 'rel'] }); }
      look();
    };
    document.addEventListener('readystatechange', watch);
    addEventListener('load', watch);
    watch();
  }
  // The picture of an icon: decoded and drawn small here, in the page's own sandboxed process.
  const draw = async (base64, side) => {
    const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes]), { resizeWidth: side, resizeHeight: side, resizeQuality: 'high' });
    const canvas = new OffscreenCanvas(side, side);
    canvas.getContext('2d').drawImage(bitmap, 0, 0);
    const png = new Uint8Array(await (await canvas.convertToBlob({ type: 'image/png' })).arrayBuffer());
    return btoa(String.fromCharCode(...png));
  };
  globalThis.isolationWorld = { answer, paste, pastePicture, picture, draw, menu, leaveFullscreen, shown, reveal };
})();
