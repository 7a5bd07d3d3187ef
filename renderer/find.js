// Find in page, in the same world of its own as world.js. Matches are marked by the CSS custom highlight registry: neither the page's DOM nor its
// selection changes while a person looks for something. The node asks every frame and says which match is shown.
(() => {
  'use strict';
  if (!globalThis.isolationWorld || globalThis.isolationWorld.find) return;
  const MAX_CHARACTERS = 4_000_000; // of a frame's text that are searched: several books
  const MAX_MATCHES = 10_000; // in one frame; each is a range the browser keeps
  const SKIPPED = /^(?:SCRIPT|STYLE|NOSCRIPT|TEMPLATE|TITLE|HEAD|IFRAME|OBJECT|CANVAS|VIDEO|AUDIO|TEXTAREA|SELECT|OPTION|DATALIST)$/i;
  const EVERY = 'isolation-find', CURRENT = 'isolation-find-current';

  // ---- how letters compare: without case, accents and the kind of white space
  const folds = new Map();
  const fold = unit => {
    let folded = folds.get(unit);
    if (folded === undefined) {
      const parts = unit.normalize('NFD');
      const plain = /^.[\u0300-\u036f]+$/.test(parts) ? parts[0] : unit;
      const lower = plain.toLowerCase();
      folds.set(unit, folded = lower.length === 1 ? lower : plain);
    }
    return folded;
  };
  const white = code => code === 32 || (code >= 9 && code <= 13) || code === 0xa0 || code === 0x3000;
  const needle = text => {
    let result = '';
    for (let i = 0; i < text.length; i++) {
      if (!white(text.charCodeAt(i))) result += fold(text[i]);
      else if (!result.endsWith(' ')) result += ' ';
    }
    return result;
  };

  // ---- the text of the frame as it is seen, and which node each piece of it comes from
  let haystack = '', pieces = [], places = new Uint32Array(0), stale = true;
  const gather = () => {
    const parts = [], positions = [], found = [];
    let length = 0, last = 0, block = null;
    const blocks = new Map(), seen = new Map();
    const blockOf = element => {
      let answer = blocks.get(element);
      if (answer === undefined) {
        const display = getComputedStyle(element).display;
        const up = element.parentElement ?? element.getRootNode().host ?? null;
        answer = /^(?:inline|contents|ruby)/.test(display) && !/^inline-(?:block|flex|grid|table)/.test(display) && up ? blockOf(up) : element;
        blocks.set(element, answer);
      }
      return answer;
    };
    const visible = element => {
      let answer = seen.get(element);
      if (answer === undefined) seen.set(element, answer = element.checkVisibility({ visibilityProperty: true }));
      return answer;
    };
    const put = (character, at) => { parts.push(character); positions.push(at); length += 1; last = character.charCodeAt(0); };
    const read = node => {
      const parent = node.parentElement ?? node.getRootNode().host;
      if (!parent || !visible(parent)) return;
      const within = blockOf(parent);
      if (within !== block && length) put('\n', 0);
      block = within;
      found.push({ node, start: length });
      const data = node.data;
      for (let i = 0; i < data.length && length < MAX_CHARACTERS; i++) {
        if (!white(data.charCodeAt(i))) put(fold(data[i]), i);
        else if (last !== 32 && last !== 10) put(' ', i);
      }
    };
    const walk = node => {
      for (let child = node.firstChild; child && length < MAX_CHARACTERS; child = child.nextSibling) {
        if (child.nodeType === Node.TEXT_NODE) read(child);
        else if (child.nodeType === Node.ELEMENT_NODE) {
          if (child.tagName === 'BR' && length) put(' ', 0);
          else if (!SKIPPED.test(child.tagName)) walk(child.shadowRoot ?? child);
        }
      }
    };
    if (document.documentElement) walk(document.documentElement);
    haystack = parts.join('');
    pieces = found;
    places = Uint32Array.from(positions);
    stale = false;
  };
  const pieceAt = position => {
    let low = 0, high = pieces.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (pieces[middle].start <= position) low = middle; else high = middle - 1;
    }
    return pieces[low];
  };
  const rangeOf = (start, end) => {
    const range = { startContainer: pieceAt(start).node, startOffset: places[start], endContainer: pieceAt(end - 1).node, endOffset: places[end - 1] + 1 };
    try { return new StaticRange(range); } catch { return null; }
  };
  const living = range => {
    const live = document.createRange();
    try {
      live.setStart(range.startContainer, range.startOffset);
      live.setEnd(range.endContainer, range.endOffset);
      return range.startContainer.isConnected ? live : null;
    } catch { return null; }
  };

  // ---- marks
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`:root::highlight(${EVERY}) { background-color: #ffe14d; color: #000; } :root::highlight(${CURRENT}) { background-color: #ff9632; color: #000; }`);
  const marks = ranges => {
    if (!document.adoptedStyleSheets.includes(sheet)) document.adoptedStyleSheets.push(sheet);
    CSS.highlights.set(EVERY, new Highlight(...ranges));
  };
  const unmark = () => {
    CSS.highlights.delete(EVERY);
    CSS.highlights.delete(CURRENT);
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter(one => one !== sheet);
  };
  const bring = range => {
    const start = range.startContainer.parentElement;
    start?.scrollIntoView({ block: 'nearest', inline: 'nearest' }); // through every frame around this one
    for (let box = start; box; box = box.parentElement ?? box.getRootNode().host) {
      const outer = box === document.scrollingElement || box === document.documentElement;
      if (!outer && !/auto|scroll|hidden/.test(getComputedStyle(box).overflow)) continue;
      const wanted = range.getBoundingClientRect();
      const frame = outer ? { top: 0, left: 0, bottom: innerHeight, right: innerWidth } : box.getBoundingClientRect();
      if (wanted.top < frame.top || wanted.bottom > frame.bottom) box.scrollTop += (wanted.top + wanted.bottom - frame.top - frame.bottom) / 2;
      if (wanted.left < frame.left || wanted.right > frame.right) box.scrollLeft += (wanted.left + wanted.right - frame.left - frame.right) / 2;
    }
  };

  let ranges = [], sought = '', current = null;
  const changes = new MutationObserver(() => { stale = true; });
  /** Looks for text; answers how often it is there, and the first match at or below what is seen now. */
  const find = text => {
    const wanted = needle(text);
    if (wanted === sought && !stale) return { count: ranges.length, first: 0 };
    if (sought === '') changes.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
    if (stale) gather();
    sought = wanted;
    ranges = [];
    for (let at = haystack.indexOf(wanted); at >= 0 && wanted !== '' && ranges.length < MAX_MATCHES; at = haystack.indexOf(wanted, at + wanted.length)) {
      const range = rangeOf(at, at + wanted.length);
      if (range) ranges.push(range);
    }
    marks(ranges);
    CSS.highlights.delete(CURRENT);
    const first = ranges.findIndex(range => (living(range)?.getBoundingClientRect().bottom ?? -1) >= 0);
    return { count: ranges.length, first: Math.max(0, first) };
  };
  /** Shows match `index`, or none (-1). */
  const findShow = index => {
    CSS.highlights.delete(CURRENT);
    current = ranges[index] ? living(ranges[index]) : null;
    if (!current) return;
    const mark = new Highlight(current);
    mark.priority = 1;
    CSS.highlights.set(CURRENT, mark);
    bring(current);
  };
  /** Ends it. What was found last is selected, as browsers leave it. */
  const findStop = () => {
    changes.disconnect();
    unmark();
    if (current) { getSelection().removeAllRanges(); getSelection().addRange(current); }
    [ranges, sought, current, haystack, pieces, places, stale] = [[], '', null, '', [], new Uint32Array(0), true];
  };
  Object.assign(globalThis.isolationWorld, { find, findShow, findStop });
})();
