// leadrelay: sends each <form data-leadrelay="NAME"> without leaving the page. Without this script the form still
// works, by its action.
//
// The form may have data-redirect (where to go after a success), data-text-* (see texts; also by error code), and an
// element with data-leadrelay-message for what is said, whose data-state is sending, waiting, success or error. It
// dispatches leadrelay:success and leadrelay:error; a page that prevents their default shows the outcome itself.
(() => {
  'use strict';
  const script = document.currentScript || document.querySelector('script[src*="/embed.js"]');
  const once = Symbol.for('leadrelay');
  if (!script || window[once]) return;
  window[once] = true;
  const [, base, own] = script.src.match(/^(.*\/)([^/]+)\/embed\.js/) || [];

  const texts = {
    en: {
      sending: 'Sending…',
      success: 'Thank you! Your message has been sent.',
      invalid: 'Please check the marked fields.',
      offline: 'There is no connection. What you entered is kept, and sent when there is one.',
      retry: 'That did not get through yet. Trying again…',
      error: 'That could not be sent. Please try again later.',
      captcha_failed: 'Please show once more that you are human, and send again.',
      file: 'Files cannot be sent with this form.',
    },
    de: {
      sending: 'Wird gesendet …',
      success: 'Vielen Dank! Ihre Nachricht ist angekommen.',
      invalid: 'Bitte prüfen Sie die markierten Felder.',
      field: 'Bitte prüfen Sie diese Angabe.',
      offline: 'Es besteht keine Verbindung. Ihre Eingaben bleiben hier und werden gesendet, sobald es geht.',
      retry: 'Das kam noch nicht an. Neuer Versuch …',
      error: 'Das konnte nicht gesendet werden. Bitte versuchen Sie es später noch einmal.',
      captcha_failed: 'Bitte zeigen Sie noch einmal, dass Sie ein Mensch sind, und senden Sie erneut.',
      file: 'Mit diesem Formular können keine Dateien gesendet werden.',
    },
  };
  const text = (form, name) => {
    const { lang } = form.closest('[lang]') || form;
    return form.getAttribute('data-text-' + name) || texts[/^de\b/i.test(lang) ? 'de' : 'en'][name];
  };

  // Where the visit began, for as long as it lasts. A campaign begins another.
  const visit = {};
  new URLSearchParams(location.search).forEach((value, name) => {
    if (value && /^(utm_[\w-]{1,40}|gclid|fbclid|msclkid)$/.test(name)) visit[name] = value.slice(0, 500);
  });
  try {
    const kept = sessionStorage.getItem('leadrelay');
    if (kept && !Object.keys(visit).length) Object.assign(visit, JSON.parse(kept));
  } catch (e) { /* no storage: the visit begins here */ }
  if (!visit.landing_page) {
    const { referrer } = document;
    if (referrer && new URL(referrer).host !== location.host) visit.referrer = referrer.slice(0, 500);
    visit.landing_page = location.origin + location.pathname;
    try {
      sessionStorage.setItem('leadrelay', JSON.stringify(visit));
    } catch (e) { /* no storage */ }
  }

  const states = new WeakMap();
  const waiting = new Set(); // forms that will be sent again, if the page is not left
  const stay = (e) => e.preventDefault();
  let notes = 0;

  const stateOf = (form) => {
    if (!states.has(form)) {
      const name = form.dataset.leadrelay || own;
      const action = form.getAttribute('action'); // form.action may be a field
      let message = form.querySelector('[data-leadrelay-message]') ||
        document.querySelector('[data-leadrelay-message="' + CSS.escape(name) + '"]');
      if (!message) {
        message = document.createElement('p');
        form.after(message);
      }
      message.setAttribute('role', 'status');
      const url = action ? new URL(action, document.baseURI).href.replace(/[?#].*/, '') : base + name;
      states.set(form, { url, message, bad: [] });
    }
    return states.get(form);
  };

  const say = (form, state, name, more = []) => {
    const { message } = states.get(form);
    message.dataset.state = state;
    message.textContent = [text(form, name), ...more].join(' ');
  };

  // Errors at their fields, until these change.
  const mark = (form, problems) => {
    const { bad } = states.get(form);
    const others = [];
    problems.forEach(({ field, message }) => {
      const found = form.elements.namedItem(field) || form.elements.namedItem(field + '[]');
      const controls = found instanceof RadioNodeList ? [...found] : [found];
      const last = controls[controls.length - 1];
      if (!last || last.type === 'hidden') {
        others.push(field + ': ' + message);
        return;
      }
      const note = document.createElement('div');
      note.id = 'leadrelay-note-' + ++notes;
      note.setAttribute('data-leadrelay-error', '');
      note.textContent = message;
      (last.closest('label') || last).after(note);
      controls.forEach((c) => {
        c.setAttribute('aria-invalid', 'true');
        c.setAttribute('aria-describedby', [c.getAttribute('aria-describedby'), note.id].filter(Boolean).join(' '));
      });
      bad.push({ controls, note });
    });
    say(form, 'error', 'invalid', others);
    const first = [...form.elements].find((c) => bad.some(({ controls }) => controls.includes(c)));
    if (first) first.focus();
  };

  const unmark = (s, control) => {
    s.bad = s.bad.filter(({ controls, note }) => {
      if (control && !controls.includes(control)) return true;
      note.remove();
      controls.forEach((c) => {
        const others = (c.getAttribute('aria-describedby') || '').split(' ').filter((id) => id && id !== note.id);
        c.removeAttribute('aria-invalid');
        if (others.length) c.setAttribute('aria-describedby', others.join(' '));
        else c.removeAttribute('aria-describedby');
      });
      return false;
    });
  };

  const busy = (form, s, on) => {
    s.busy = on;
    form.setAttribute('aria-busy', on);
    if (on) {
      s.focus = document.activeElement;
      s.buttons = [...form.elements].filter((c) => c.type === 'submit' && !c.disabled);
    }
    s.buttons.forEach((c) => { c.disabled = on; });
    // A button that is disabled loses the focus.
    if (!on && s.focus && document.activeElement === document.body) s.focus.focus();
  };

  // Without a whole answer there is none.
  const ask = async (url, options) => {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), 20000);
    try {
      const r = await fetch(url, Object.assign({ credentials: 'omit', signal: late.signal }, options));
      return { status: r.status, wait: r.headers.get('Retry-After'), answer: r.type === 'opaque' ? {} : await r.json() };
    } catch (e) {
      return {};
    } finally {
      clearTimeout(timer);
    }
  };

  // When the form was first touched, signed by the server.
  const touch = (s) => {
    s.touched = s.touched || ask(s.url + '/token').then(({ answer }) => {
      if (!answer) s.touched = null;
      return answer && { token: answer.token, at: Date.now() };
    });
    return s.touched;
  };

  // A token, if there is one, that neither is stale nor says that the form was filled in at once.
  const token = async (s) => {
    let touched = await s.touched;
    if (!touched || Date.now() - touched.at > 20 * 3600e3) {
      s.touched = null;
      touched = await touch(s);
      if (touched && touched.token) await new Promise((done) => { setTimeout(done, 5000); });
    }
    return touched && touched.token;
  };

  // What is to be sent; null where that cannot be.
  const collect = (form, s) => {
    const body = new URLSearchParams();
    const files = [];
    new FormData(form).forEach((value, name) => {
      if (typeof value === 'string') body.append(name, value);
      else if (value.name) files.push({ field: name, message: text(form, 'file') });
    });
    if (files.length) {
      mark(form, files);
      return null;
    }
    if (s.button && s.button.name) body.append(s.button.name, s.button.value);
    Object.keys(visit).forEach((name) => {
      const field = form.elements.namedItem(name);
      if (!field || (field.type === 'hidden' && !field.value)) body.set(name, visit[name]);
    });
    return body;
  };

  const send = async (form, s) => {
    if (s.busy) return;
    clearTimeout(s.timer);
    waiting.delete(form);
    if (!waiting.size) removeEventListener('beforeunload', stay);
    unmark(s);
    if (!form.noValidate && !form.reportValidity()) {
      say(form, 'error', 'invalid');
      return;
    }
    const body = collect(form, s);
    if (!body) return;
    // A fill has a key of its own: sent again, it is still one lead.
    const content = body.toString();
    if (content !== s.content) {
      s.content = content;
      s.key = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => (b + 256).toString(16).slice(1)).join('');
    }
    const began = Date.now();
    busy(form, s, true);
    say(form, 'sending', 'sending');
    const signed = await token(s);
    if (signed && !body.has('_token')) body.append('_token', signed);
    const { status, answer, wait } = await ask(s.url, {
      method: 'POST',
      body,
      headers: { Accept: 'application/json', 'Idempotency-Key': s.key },
      keepalive: content.length < 50000, // the page may be left meanwhile; browsers take 64 KiB
    });
    // No answer where others get one: this page is refused, unless it was chance.
    const away = !answer && !(await ask(s.url + '/embed.js', { mode: 'no-cors', cache: 'no-store' })).answer;
    busy(form, s, false);

    if (away || ((!answer || /^(408|409|429|5..)$/.test(status)) && ++s.tries < (answer ? 6 : 3))) {
      s.pause = Math.min(wait * 1000 || s.pause * 2, 60000);
      s.timer = setTimeout(resume, s.pause, form);
      waiting.add(form);
      addEventListener('beforeunload', stay);
      say(form, 'waiting', away ? 'offline' : 'retry');
      return;
    }
    ['turnstile', 'hcaptcha', 'grecaptcha'].forEach((name) => {
      try { window[name].reset(); } catch (e) { /* not on this page */ } // what it said counts once
    });
    const success = Boolean(answer && answer.success);
    if (success) s.content = null;
    if (!form.dispatchEvent(new CustomEvent('leadrelay:' + (success ? 'success' : 'error'), {
      bubbles: true, cancelable: true, detail: Object.assign({ status }, answer),
    }))) return;
    if (success) {
      say(form, 'success', 'success');
      if (!(s.typed > began)) HTMLFormElement.prototype.reset.call(form);
      if (form.dataset.redirect) location.assign(form.dataset.redirect);
    } else if (answer && answer.problems) {
      mark(form, answer.problems.map(({ field, message }) => ({ field, message: text(form, 'field') || message })));
    } else {
      say(form, 'error', answer && text(form, answer.error) ? answer.error : 'error');
    }
  };

  // Sends again, but nothing that is being written.
  const resume = (form) => {
    const s = states.get(form);
    clearTimeout(s.timer);
    if (Date.now() - s.typed < 3000) s.timer = setTimeout(resume, 1000, form);
    else send(form, s);
  };

  // On the document, so that forms may come at any time and the page's own listeners are asked first.
  const on = (type, then) => document.addEventListener(type, (e) => {
    const form = [e.target, e.target.form].find((x) => x instanceof HTMLFormElement);
    if (form && form.hasAttribute('data-leadrelay') && !e.defaultPrevented) then(form, stateOf(form), e);
  });
  on('focusin', (form, s) => { touch(s); });
  on('input', (form, s, e) => {
    if (s.touched === undefined) touch(s); // the focus was there before the script
    s.typed = Date.now();
    unmark(s, e.target);
  });
  on('submit', (form, s, e) => {
    e.preventDefault();
    s.button = e.submitter;
    s.typed = s.tries = 0;
    s.pause = 500;
    send(form, s);
  });
  addEventListener('online', () => waiting.forEach(resume));
})();
