// Lictor's web UI. It reads the public HTTP API only, and follows what it shows by blocking
// queries. Data becomes text nodes and attributes, never markup.

const ROOT = new URL(document.documentElement.dataset.root, document.baseURI);
const $ = (id) => document.getElementById(id);
const PAGE = 100; // rows shown at first, and more at a time
const WAIT = 60; // seconds that a blocking query waits
const enc = encodeURIComponent;

/* ---------- elements ---------- */

/** An element with attributes (false and null leave one out) and children (text or nodes). */
function h(tag, attrs, ...kids) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs || {})) {
    if (value === false || value == null) continue;
    node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...kids.flat(3).filter((k) => k !== false && k != null && k !== ''));
  return node;
}

/** Makes `from` equal to `to` in place: focus, selection, open details and typed text stay. */
function morph(from, to) {
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && name !== 'open') from.removeAttribute(name);
  }
  for (const { name, value } of to.attributes) {
    if (name !== 'open' && from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  morphKids(from, to);
}

const keyOf = (node) => (node.dataset ? node.dataset.key : undefined);

function morphKids(from, to) {
  const wanted = [...to.childNodes];
  const wantedKeys = new Set(wanted.map(keyOf));
  const byKey = new Map();
  for (const kid of from.children) if (keyOf(kid) !== undefined) byKey.set(keyOf(kid), kid);
  let at = from.firstChild;
  const drop = () => { const gone = at; at = at.nextSibling; gone.remove(); };
  for (const want of wanted) {
    while (at && keyOf(at) !== undefined && !wantedKeys.has(keyOf(at))) drop();
    const key = keyOf(want);
    const have = key !== undefined ? byKey.get(key) : at && keyOf(at) === undefined ? at : null;
    if (!have || have.nodeName !== want.nodeName) {
      from.insertBefore(want, at);
      continue;
    }
    if (have === at) at = at.nextSibling;
    else from.insertBefore(have, at);
    if (have.nodeType !== Node.ELEMENT_NODE) {
      if (have.data !== want.data) have.data = want.data;
    } else morph(have, want);
  }
  while (at) drop();
}

/* ---------- requests ---------- */

/** The status of an error that the page itself found: its text says all. */
const OWN = -1;

class ApiError extends Error {
  constructor(status, text) {
    super(text || 'HTTP ' + status);
    this.status = status;
  }
}

const token = () => sessionStorage.getItem('token') || '';

/** One request to the API. Gives {status, text, index}; throws on errors but 404. */
async function ask(path, { params = {}, method = 'GET', body, signal, seconds = 20 } = {}) {
  const url = new URL('v1/' + path, ROOT);
  if (route.dc) url.searchParams.set('dc', route.dc);
  for (const [name, value] of Object.entries(params)) if (value != null) url.searchParams.set(name, value);
  const own = new AbortController();
  const stop = () => own.abort();
  if (signal) {
    if (signal.aborted) own.abort();
    signal.addEventListener('abort', stop);
  }
  const timer = setTimeout(stop, seconds * 1000);
  try {
    const headers = token() ? { 'X-Consul-Token': token() } : {};
    let response, text;
    try {
      response = await fetch(url, { method, body, headers, signal: own.signal, cache: 'no-store' });
      text = await response.text();
    } catch (error) {
      if (signal && signal.aborted) throw error;
      throw new ApiError(0, own.signal.aborted ? 'No answer within ' + seconds + ' seconds' : 'The agent does not answer');
    }
    if (!response.ok && response.status !== 404) throw new ApiError(response.status, text.trim());
    if (response.status === 404 && text.startsWith('Invalid URL path')) throw new ApiError(404, text.trim());
    return {
      status: response.status,
      text,
      index: Number(response.headers.get('X-Consul-Index')) || 0,
    };
  } finally {
    clearTimeout(timer);
    if (signal) signal.removeEventListener('abort', stop);
  }
}

/** JSON of an answer; `none` when there is nothing (404). */
const data = (answer, none) => {
  if (answer.status === 404) return none;
  const value = JSON.parse(answer.text);
  return value === null ? none : value;
};

/** What is wrong, and what to do about it. */
function explain(error) {
  const text = error.message || String(error);
  const low = text.toLowerCase();
  if (!(error instanceof ApiError)) return [text, 'This is a fault of the page: reload it, and report it if it stays.'];
  if (error.status === OWN) return [text + '.', ''];
  if (error.status === 0) return [text + '.', 'Check that the agent runs and that this address leads to it (' + ROOT.origin + ').'];
  if (error.status === 403 && low.includes('access is restricted')) return [text, 'Writes are only taken from the networks in http_config.allow_write_http_from.'];
  if (error.status === 403 && low.includes('blocked by agent')) return [text, 'This endpoint is in http_config.block_endpoints. Ask another agent, or change its configuration.'];
  if (error.status === 401 || error.status === 403) return [text, token() ? 'Your token may not do this, or is no longer known. Set another one with “Token”.' : 'Set a token that may do this with “Token” at the top.'];
  if (error.status === 413) return [text, 'Store a smaller value, or raise limits.kv_max_value_size on the agent.'];
  if (error.status === 429) return [text, 'The agent limits requests. Wait a little, or raise its limits.'];
  if (low.includes('no cluster leader')) return [text, 'The servers are electing a leader. If this stays, check that most of them run: “lictor members” and “lictor operator raft list-peers”.'];
  if (low.includes('no known consul servers') || low.includes('no known servers') || low.includes('rpc error')) return [text, 'The agent does not reach a server. Check retry_join and the network between them.'];
  if (low.includes('no path to datacenter')) return [text, 'Choose another datacenter, or check that the datacenters are joined over the WAN.'];
  if (error.status === 404) return [text, 'The agent does not offer this endpoint. Is it older than this page, or another program?'];
  return [text + ' (HTTP ' + error.status + ')', 'The log of the agent says more: “lictor monitor”.'];
}

/* ---------- what lives as long as a view ---------- */

const shown = () => (document.visibilityState === 'visible' ? Promise.resolve() : new Promise((done) => {
  document.addEventListener('visibilitychange', done, { once: true });
}).then(shown));

const sleep = (ms, signal) => new Promise((done) => {
  const timer = setTimeout(done, ms);
  signal.addEventListener('abort', () => { clearTimeout(timer); done(); }, { once: true });
});

class Scope {
  constructor() {
    this.end = new AbortController();
    this.signal = this.end.signal;
    this.errors = new Map();
    this.retries = new Set();
    this.loaded = false;
  }

  /** Calls `got` with each new state of `path`, until the view ends. */
  async watch(path, params, got) {
    let index = 0;
    let failed = 0;
    while (!this.signal.aborted) {
      // A page that nobody sees holds no connection: browsers have only six for a host.
      await shown();
      if (this.signal.aborted) return;
      const begun = performance.now();
      const part = new AbortController();
      const stop = () => part.abort();
      this.signal.addEventListener('abort', stop);
      let hiding;
      const hide = () => {
        clearTimeout(hiding);
        if (document.visibilityState === 'hidden') hiding = setTimeout(stop, 5000);
      };
      document.addEventListener('visibilitychange', hide);
      try {
        const blocking = index > 0 ? { index, wait: WAIT + 's' } : {};
        const answer = await ask(path, { params: { ...params, ...blocking }, signal: part.signal, seconds: WAIT + 20 });
        if (this.signal.aborted) return;
        // An index that falls means another history: begin anew.
        const fresh = answer.index !== index || failed > 0 || index === 0;
        index = answer.index < index ? 0 : answer.index;
        failed = 0;
        this.errors.delete(path);
        this.loaded = true;
        if (fresh) got(answer);
        state();
        if (index === 0) await sleep(5000, this.signal);
        else await sleep(Math.max(0, 500 - (performance.now() - begun)), this.signal);
      } catch (error) {
        if (this.signal.aborted) return;
        if (part.signal.aborted) continue;
        failed += 1;
        index = 0; // an agent that restarted may count from a lower one: ask for what is now
        this.errors.set(path, error);
        state();
        const pause = Math.min(30, 2 ** failed) * 1000;
        await Promise.race([sleep(pause, this.signal), new Promise((now) => this.retries.add(now))]);
        this.retries.clear();
      } finally {
        clearTimeout(hiding);
        document.removeEventListener('visibilitychange', hide);
        this.signal.removeEventListener('abort', stop);
      }
    }
  }

  retry() {
    for (const now of this.retries) now();
  }

  stop() {
    this.end.abort();
  }
}

/* ---------- shared pieces ---------- */

const RANK = { passing: 0, warning: 1, critical: 2, maintenance: 3 };
const WORD = { passing: 'Passing', warning: 'Warning', critical: 'Critical', maintenance: 'Maintenance' };
const SIGN = { passing: '✓', warning: '!', critical: '✕', maintenance: '‖' };

const statusOf = (check) => (check.CheckID === '_node_maintenance' || check.CheckID.startsWith('_service_maintenance:') ? 'maintenance' : check.Status in RANK ? check.Status : 'critical');
const worse = (a, b) => (RANK[b] > RANK[a] ? b : a);
const worst = (checks) => checks.map(statusOf).reduce(worse, 'passing');
const byText = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const plural = (n, one, many) => n + ' ' + (n === 1 ? one : many || one + 's');

const badge = (status, text) => h('span', { class: 'badge ' + status }, h('span', { 'aria-hidden': 'true' }, SIGN[status] + ' '), text || WORD[status]);
const tags = (list) => !!list && list.length > 0 && h('ul', { class: 'tags', 'aria-label': 'Tags' }, list.map((t) => h('li', {}, t)));
const link = (to, ...kids) => h('a', { href: '#' + to + (route.dc ? '?dc=' + enc(route.dc) : '') }, kids);
const serviceLink = (name) => link('/services/' + enc(name), name);
const nodeLink = (name) => link('/nodes/' + enc(name), name);
const crumbs = (...parts) => h('nav', { class: 'crumbs', 'aria-label': 'Breadcrumb' }, h('ol', {}, parts.map((p) => h('li', {}, p))));
const empty = (text, hint) => h('div', { class: 'empty' }, h('p', {}, text), hint && h('p', { class: 'dim' }, hint));
const title = (text, ...more) => h('div', { class: 'title' }, h('h1', { tabindex: '-1' }, text), more);
const loading = () => h('p', { class: 'dim loading' }, 'Loading…');

const pairs = (object) => {
  const rows = Object.entries(object || {}).filter(([, v]) => v !== '').sort((a, b) => byText(a[0], b[0]));
  return rows.length > 0 && h('dl', { class: 'pairs' }, rows.map(([k, v]) => h('div', {}, h('dt', {}, k), h('dd', {}, String(v)))));
};

function checkList(checks) {
  const sorted = [...checks].sort((a, b) => RANK[statusOf(b)] - RANK[statusOf(a)] || byText(a.Name, b.Name));
  return h('ul', { class: 'checks' }, sorted.map((c) => h('li', { 'data-key': c.Node + '/' + c.CheckID },
    h('div', { class: 'row' }, badge(statusOf(c)), h('strong', {}, c.Name || c.CheckID), h('code', { class: 'dim' }, c.CheckID),
      h('span', { class: 'dim' }, [c.ServiceID ? 'service check' : 'node check', c.Type, c.Interval && 'every ' + c.Interval].filter(Boolean).join(' · '))),
    c.Notes && h('p', { class: 'dim' }, c.Notes),
    c.Output && h('pre', { tabindex: '0', 'aria-label': 'Output of ' + (c.Name || c.CheckID) }, c.Output))));
}

const checkSummary = (checks) => {
  const bad = checks.filter((c) => statusOf(c) !== 'passing').length;
  return plural(checks.length, 'check') + (bad ? ' · ' + bad + ' not passing' : '');
};

/** The words that a list is narrowed by, kept while other views are open. */
const searches = { services: { q: '', status: '' }, nodes: { q: '', status: '' }, kv: { q: '', status: '' }, containers: { q: '', status: '' } };

const searchBar = (name, label, withStatus) => h('form', { class: 'bar', role: 'search', 'data-act': 'none' },
  h('label', {}, h('span', { class: 'unseen' }, label),
    h('input', { id: 'q', type: 'search', placeholder: label, value: searches[name].q, 'data-input': 'q', 'data-list': name, autocomplete: 'off', spellcheck: 'false', 'aria-keyshortcuts': '/' })),
  withStatus && h('label', {}, h('span', { class: 'unseen' }, 'Health'),
    h('select', { id: 'status', 'data-input': 'status', 'data-list': name },
      [['', 'Any health'], ['passing', 'Passing'], ['warning', 'Warning'], ['critical', 'Critical'], ['maintenance', 'Maintenance']]
        .map(([v, text]) => h('option', { value: v, selected: searches[name].status === v }, text)))));

const hit = (name, ...texts) => {
  const words = searches[name].q.toLowerCase().split(/\s+/).filter(Boolean);
  const hay = texts.flat().join('\n').toLowerCase();
  return words.every((w) => hay.includes(w));
};

const more = (total, limit) => total > limit && h('p', { class: 'more' },
  h('button', { type: 'button', 'data-act': 'more' }, 'Show more'), h('span', { class: 'dim' }, ' ' + limit + ' of ' + total + ' shown'));

const count = (list, all, what) => h('p', { class: 'dim count' }, list === all ? plural(all, what) : list + ' of ' + plural(all, what));

const NOT_PASSING = { filter: 'Status != "passing"' };

/* ---------- views: each gives {title, render} and may watch through its scope ---------- */

function servicesView(scope) {
  let services = null; // name -> tags
  let servicesIndex = 0;
  let failing = null;
  const counts = new Map(); // name -> {mark, total, by, status}
  const onNode = new Map(); // node -> {mark, names}
  const view = { title: 'Services', limit: PAGE };

  // What the counts of a service depend on: when it differs, they are read again.
  let marks = new Map();
  const markOf = (name) => servicesIndex + '|' + marks.get('') + '|' + marks.get(name);
  function setMarks() {
    marks = new Map();
    const lines = failing.map((c) => [c.ServiceName, JSON.stringify([c.Node, c.CheckID, c.Status])]).sort((a, b) => byText(a[1], b[1]));
    for (const [name, line] of lines) marks.set(name, (marks.get(name) || '') + line);
  }

  // The lists do not say how many instances there are: that is read for the rows on the screen.
  let busy = false;
  let wanted = false;
  async function refresh() {
    wanted = busy;
    if (busy || !services || !failing) return;
    busy = true;
    try {
      for (let again = true; again && !scope.signal.aborted;) {
        const jobs = [];
        for (const node of [...new Set(failing.filter((c) => !c.ServiceName).map((c) => c.Node))].slice(0, PAGE)) {
          if ((onNode.get(node) || {}).mark !== servicesIndex) {
            const mark = servicesIndex;
            jobs.push(async () => {
              const got = data(await ask('catalog/node-services/' + enc(node), { signal: scope.signal }), {});
              onNode.set(node, { mark, names: (got.Services || []).map((s) => s.Service) });
            });
          }
        }
        for (const name of rows().slice(0, view.limit)) {
          const mark = markOf(name);
          if ((counts.get(name) || {}).mark !== mark) {
            jobs.push(async () => {
              const list = data(await ask('health/service/' + enc(name), { signal: scope.signal }), []);
              const by = { passing: 0, warning: 0, critical: 0, maintenance: 0 };
              for (const one of list) by[worst(one.Checks)] += 1;
              counts.set(name, { mark, total: list.length, by, status: list.map((one) => worst(one.Checks)).reduce(worse, 'passing') });
            });
          }
        }
        again = jobs.length > 0;
        const worker = async () => { while (jobs.length) { await jobs.shift()(); } };
        await Promise.all([worker(), worker(), worker()]);
        paint();
        if (again) await sleep(1000, scope.signal);
      }
      scope.errors.delete('counts');
    } catch (error) {
      if (!scope.signal.aborted) {
        scope.errors.set('counts', error);
        state();
        sleep(10000, scope.signal).then(refresh);
      }
    } finally {
      busy = false;
      if (wanted && !scope.signal.aborted) refresh();
    }
  }

  /** From the counts when they are of now, else from the checks. */
  function statusBy(name, table) {
    const known = counts.get(name);
    return known && known.mark === markOf(name) ? known.status : table.get(name) || 'passing';
  }

  /** The worst check of each service, from those that do not pass. */
  function table() {
    const out = new Map();
    const note = (name, status) => out.set(name, worse(out.get(name) || 'passing', status));
    for (const c of failing) {
      if (c.ServiceName) note(c.ServiceName, statusOf(c));
      else for (const name of (onNode.get(c.Node) || { names: [] }).names) note(name, statusOf(c));
    }
    return out;
  }

  function rows() {
    const wanted = searches.services.status;
    const found = wanted && table();
    return Object.keys(services).filter((n) => hit('services', n, services[n]) && (!wanted || statusBy(n, found) === wanted)).sort(byText);
  }

  view.render = () => {
    if (!services || !failing) return [title('Services'), loading()];
    const list = rows();
    const found = table();
    const all = Object.keys(services).length;
    return [
      title('Services', searchBar('services', 'Filter by name or tag', true)),
      count(list.length, all, 'service'),
      list.length === 0 ? empty('No service matches.', 'Change the filter above.') : h('table', {},
        h('caption', { class: 'unseen' }, 'Services with their health'),
        h('thead', {}, h('tr', {}, ['Service', 'Health', 'Instances', 'Tags'].map((t) => h('th', { scope: 'col' }, t)))),
        h('tbody', {}, list.slice(0, view.limit).map((name) => {
          const known = counts.get(name);
          const parts = known && ['critical', 'maintenance', 'warning'].filter((s) => known.by[s]).map((s) => known.by[s] + ' ' + WORD[s].toLowerCase()).join(', ');
          return h('tr', { 'data-key': name, class: 'go' },
            h('th', { scope: 'row' }, serviceLink(name)),
            h('td', {}, badge(known ? known.status : found.get(name) || 'passing')),
            h('td', {}, known ? String(known.total) : '…', parts && h('span', { class: 'dim' }, ' (' + parts + ')')),
            h('td', {}, tags(services[name])));
        }))),
      more(list.length, view.limit),
    ];
  };
  view.changed = refresh;
  scope.watch('catalog/services', {}, (answer) => {
    services = data(answer, {});
    servicesIndex = answer.index;
    for (const name of counts.keys()) if (!(name in services)) counts.delete(name);
    paint();
    refresh();
  });
  scope.watch('health/state/any', NOT_PASSING, (answer) => {
    failing = data(answer, []);
    setMarks();
    paint();
    refresh();
  });
  return view;
}

function serviceView(scope, name) {
  let list = null;
  const view = { title: name, limit: PAGE };
  view.render = () => {
    const head = crumbs(link('/services', 'Services'), name);
    if (!list) return [head, title(name), loading()];
    if (!list.length) return [head, title(name), empty('No instance of this service is registered.', 'It may have been deregistered; the page shows it when it comes back.')];
    const by = { critical: 0, maintenance: 0, warning: 0, passing: 0 };
    for (const one of list) by[worst(one.Checks)] += 1;
    const first = list[0].Service;
    const all = [...new Set(list.flatMap((one) => one.Service.Tags || []))].sort(byText);
    return [
      head,
      title(name, h('span', { class: 'row' }, Object.keys(by).filter((s) => by[s]).map((s) => badge(s, by[s] + ' ' + WORD[s].toLowerCase())))),
      h('p', { class: 'dim count' }, plural(list.length, 'instance') + (first.Kind ? ' · ' + first.Kind : '')),
      tags(all),
      h('ul', { class: 'cards', 'aria-label': 'Instances' }, list.slice(0, view.limit).map((one) => {
        const s = one.Service;
        const status = worst(one.Checks);
        const host = s.Address || one.Node.Address;
        const at = s.SocketPath || (host.includes(':') ? '[' + host + ']' : host) + (s.Port ? ':' + s.Port : '');
        return h('li', { 'data-key': one.Node.Node + '/' + s.ID, class: 'card ' + status },
          h('div', { class: 'row' }, badge(status), h('h2', {}, s.ID), h('code', {}, at), h('span', { class: 'dim' }, 'on ', nodeLink(one.Node.Node))),
          tags(s.Tags),
          h('details', { open: status !== 'passing' }, h('summary', {}, one.Checks.length ? checkSummary(one.Checks) : 'No checks'), checkList(one.Checks)),
          (Object.keys(s.Meta || {}).length > 0 || s.Weights) && h('details', { 'data-key': 'more' }, h('summary', {}, 'Details'),
            pairs({ ...Object.fromEntries(Object.entries(s.Meta || {}).map(([k, v]) => ['meta ' + k, v])), ...tagged(s.TaggedAddresses),
              'weight passing': s.Weights && s.Weights.Passing, 'weight warning': s.Weights && s.Weights.Warning, 'modify index': s.ModifyIndex })));
      })),
      more(list.length, view.limit),
    ];
  };
  scope.watch('health/service/' + enc(name), {}, (answer) => {
    list = data(answer, []).map((one) => ({ ...one, Checks: one.Checks || [] }));
    list.sort((a, b) => RANK[worst(b.Checks)] - RANK[worst(a.Checks)] || byText(a.Node.Node, b.Node.Node) || byText(a.Service.ID, b.Service.ID));
    paint();
  });
  return view;
}

const tagged = (addresses) => Object.fromEntries(Object.entries(addresses || {}).map(([k, v]) => ['address ' + k, typeof v === 'string' ? v : v.Address + ':' + v.Port]));

function nodesView(scope) {
  let nodes = null;
  let failing = [];
  const view = { title: 'Nodes', limit: PAGE };
  view.render = () => {
    if (!nodes) return [title('Nodes'), loading()];
    const bad = new Map();
    for (const c of failing) bad.set(c.Node, [...(bad.get(c.Node) || []), c]);
    const wanted = searches.nodes.status;
    const list = nodes.filter((n) => hit('nodes', n.Node, n.Address) && (!wanted || worst(bad.get(n.Node) || []) === wanted));
    return [
      title('Nodes', searchBar('nodes', 'Filter by name or address', true)),
      count(list.length, nodes.length, 'node'),
      list.length === 0 ? empty('No node matches.', 'Change the filter above.') : h('table', {},
        h('caption', { class: 'unseen' }, 'Nodes with their health'),
        h('thead', {}, h('tr', {}, ['Node', 'Health', 'Address', 'Version'].map((t) => h('th', { scope: 'col' }, t)))),
        h('tbody', {}, list.slice(0, view.limit).map((n) => {
          const checks = bad.get(n.Node) || [];
          return h('tr', { 'data-key': n.Node, class: 'go' },
            h('th', { scope: 'row' }, nodeLink(n.Node), n.Node === self.NodeName && h('span', { class: 'note' }, 'this agent')),
            h('td', {}, badge(worst(checks)), checks.length > 0 && h('span', { class: 'dim' }, ' ' + plural(checks.length, 'check') + ' not passing')),
            h('td', {}, h('code', {}, n.Address)),
            h('td', {}, (n.Meta || {})['consul-version'] || ''));
        }))),
      more(list.length, view.limit),
    ];
  };
  scope.watch('catalog/nodes', {}, (answer) => {
    nodes = data(answer, []).sort((a, b) => byText(a.Node, b.Node));
    paint();
  });
  scope.watch('health/state/any', NOT_PASSING, (answer) => {
    failing = data(answer, []);
    paint();
  });
  return view;
}

function nodeView(scope, name) {
  let got = null;
  let checks = [];
  const view = { title: name, limit: PAGE };
  view.render = () => {
    const head = crumbs(link('/nodes', 'Nodes'), name);
    if (!got) return [head, title(name), loading()];
    if (!got.Node) return [head, title(name), empty('There is no such node.', 'It may have left; the page shows it when it comes back.')];
    const own = checks.filter((c) => !c.ServiceID);
    const checksOf = (s) => checks.filter((c) => c.ServiceID === s.ID);
    const list = [...(got.Services || [])].sort((a, b) => RANK[worst(checksOf(b))] - RANK[worst(checksOf(a))] || byText(a.Service, b.Service) || byText(a.ID, b.ID));
    return [
      head,
      title(name, badge(worst(checks)), h('code', {}, got.Node.Address)),
      h('section', {}, h('h2', {}, 'Node checks'), own.length ? checkList(own) : h('p', { class: 'dim' }, 'No checks of the node itself.')),
      h('section', {}, h('h2', {}, 'Services'),
        list.length === 0 ? h('p', { class: 'dim' }, 'No services on this node.') : h('ul', { class: 'cards' }, list.slice(0, view.limit).map((s) => {
          const of = checksOf(s);
          // A service is no healthier than its node.
          const status = worst([...own, ...of]);
          return h('li', { 'data-key': s.ID, class: 'card ' + status },
            h('div', { class: 'row' }, badge(status), h('h3', {}, serviceLink(s.Service)), s.ID !== s.Service && h('code', {}, s.ID),
              h('span', { class: 'dim' }, s.SocketPath || [s.Address, s.Port || ''].filter(Boolean).join(':') || 'no port'),
              worst(of) !== status && h('span', { class: 'dim' }, 'by a check of the node')),
            tags(s.Tags),
            of.length > 0 && h('details', { open: worst(of) !== 'passing' }, h('summary', {}, checkSummary(of)), checkList(of)));
        })),
        more(list.length, view.limit)),
      h('section', {}, h('h2', {}, 'About'), pairs({ ID: got.Node.ID, datacenter: got.Node.Datacenter, ...tagged(got.Node.TaggedAddresses),
        ...Object.fromEntries(Object.entries(got.Node.Meta || {}).map(([k, v]) => ['meta ' + k, v])) })),
    ];
  };
  scope.watch('catalog/node-services/' + enc(name), {}, (answer) => {
    got = data(answer, {});
    paint();
  });
  scope.watch('health/node/' + enc(name), {}, (answer) => {
    checks = data(answer, []);
    paint();
  });
  return view;
}

/* ---------- containers ---------- */

/** What a container is: `running (healthy)`, `exited (137, out of memory)`. */
const containerState = (c) => {
  const notes = [c.ExitCode == null ? '' : String(c.ExitCode), c.OOMKilled && 'out of memory', c.Health !== 'none' && c.Health].filter(Boolean);
  return c.State + (notes.length ? ' (' + notes.join(', ') + ')' : '');
};

const containerStatus = (c) => {
  if (c.OOMKilled || c.ExitCode > 0 || c.Health === 'unhealthy') return 'critical';
  if (c.Problems.length > 0) return 'warning';
  if (c.State !== 'running' || c.Services.some((s) => s.Out)) return 'maintenance';
  return 'passing';
};

function containersView(scope) {
  let got = null;
  const view = { title: 'Containers', limit: PAGE };
  view.render = () => {
    const head = title('Containers', searchBar('containers', 'Filter by name, image or service', true));
    if (!got) return [head, loading()];
    if (!got.Containers) return [head, empty('This agent does not follow containers.', 'It does with “-docker”, or docker { enabled = true }.')];
    const daemon = got.Daemon;
    const wanted = searches.containers.status;
    const list = got.Containers.filter((c) => hit('containers', c.Name, c.Image, ...c.Services.map((s) => s.Name)) && (!wanted || containerStatus(c) === wanted));
    const cell = (c, of) => h('td', {}, h('ul', { class: 'plain' }, c.Services.map((s) => h('li', {}, of(s)))));
    return [
      head,
      !daemon.Connected && h('p', { class: 'error' }, 'The Docker daemon is not followed right now: ' + daemon.Error),
      count(list.length, got.Containers.length, 'container'),
      list.length === 0 ? empty('No container matches.', 'Change the filter above.') : h('table', {},
        h('caption', { class: 'unseen' }, 'Containers, how they are or ended, and their services'),
        h('thead', {}, h('tr', {}, ['Container', 'State', 'Services', 'Addresses', 'Notes'].map((t) => h('th', { scope: 'col' }, t)))),
        h('tbody', {}, list.slice(0, view.limit).map((c) => h('tr', { 'data-key': c.ID },
          h('th', { scope: 'row' }, c.Name, h('div', { class: 'dim' }, c.Image)),
          h('td', {}, badge(containerStatus(c), containerState(c)), c.ExitCode != null && c.FinishedAt && h('div', { class: 'dim' }, c.FinishedAt.slice(0, 19).replace('T', ' ') + ' UTC')),
          cell(c, (s) => serviceLink(s.Name)),
          cell(c, (s) => h('code', { title: s.Rule }, s.Address)),
          h('td', {}, [...c.Problems, ...c.Services.map((s) => s.Out), c.LeftOut].filter(Boolean).map((t) => h('div', {}, t))))))),
      more(list.length, view.limit),
    ];
  };
  scope.watch('lictor/docker/containers', {}, (answer) => {
    got = data(answer, {});
    paint();
  });
  return view;
}

/* ---------- keys and values ---------- */

/** A key in a path of the API. Empty and dot parts would be tidied away on the way: they go encoded. */
function keyPath(key) {
  const parts = key.split('/');
  const odd = parts.some((p, i) => p === '.' || p === '..' || (p === '' && i < parts.length - 1));
  return 'kv/' + (odd ? enc(key) : parts.map(enc).join('/'));
}

const keyHash = (key) => '/kv/' + key.split('/').map(enc).join('/');
const keyLink = (key, query, ...kids) => {
  const all = [query, route.dc && 'dc=' + enc(route.dc)].filter(Boolean).join('&');
  return h('a', { href: '#' + keyHash(key) + (all ? '?' + all : '') }, kids);
};

function keyCrumbs(key) {
  const parts = key.split('/');
  const last = parts.pop();
  const out = [key === '' ? 'Key/Value' : keyLink('', '', 'Key/Value')];
  parts.forEach((part, i) => {
    const here = !last && i === parts.length - 1;
    out.push(here ? part || '(empty)' : keyLink(parts.slice(0, i + 1).join('/') + '/', '', part || '(empty)'));
  });
  if (last) out.push(last);
  return crumbs(...out);
}

const reachable = (key) => key !== '' && key !== '.' && key !== '..';
const nameOf = (prefix) => prefix.split('/').at(-2) || '(empty)';

function folderView(scope, prefix) {
  let keys = null;
  const view = { title: prefix || 'Key/Value', limit: PAGE };
  view.render = () => {
    const tools = h('div', { class: 'row' }, keyLink(prefix, 'new', h('span', { class: 'button main' }, 'New key')),
      prefix && h('button', { type: 'button', class: 'danger', 'data-act': 'delete-folder' }, 'Delete folder'));
    const head = [keyCrumbs(prefix), title(prefix ? nameOf(prefix) : 'Key/Value', searchBar('kv', 'Filter this folder'), tools)];
    if (!keys) return [...head, loading()];
    const list = keys.filter((k) => hit('kv', k.slice(prefix.length)));
    const folders = list.filter((k) => k !== prefix && k.endsWith('/'));
    const plain = list.filter((k) => k === prefix || !k.endsWith('/'));
    if (!keys.length) return [...head, empty(prefix ? 'This folder is empty.' : 'No keys yet.', 'Create one with “New key”.')];
    return [
      ...head,
      h('p', { class: 'dim count' }, plural(folders.length, 'folder') + ', ' + plural(plain.length, 'key')),
      list.length === 0 ? empty('No entry matches.', 'Change the filter above.') : h('ul', { class: 'keys', 'aria-label': 'Folders and keys' },
        [...folders, ...plain].slice(0, view.limit).map((k) => h('li', { 'data-key': k },
          k !== prefix && k.endsWith('/')
            ? keyLink(k, '', h('span', { class: 'kind', 'aria-hidden': 'true' }, '▸'), k.slice(prefix.length, -1) || '(empty)', h('span', { class: 'dim' }, '/'), h('span', { class: 'unseen' }, ' folder'))
            : keyLink(k, k.endsWith('/') || k === '' ? 'value' : '', h('span', { class: 'kind', 'aria-hidden': 'true' }, '·'), k === prefix ? h('em', {}, 'value of the folder itself') : k.slice(prefix.length))))),
      more(list.length, view.limit),
    ];
  };
  view.deleteFolder = async () => {
    const yes = await sure('Delete this folder?', 'All keys that begin with “' + prefix + '” are deleted. This cannot be undone.', 'Delete all');
    if (!yes) return;
    await act(async () => {
      await ask(keyPath(prefix), { method: 'DELETE', params: { recurse: '' } });
      say('Deleted ' + prefix);
      go(keyHash(prefix.split('/').slice(0, -2).concat('').join('/')));
    });
  };
  scope.watch(keyPath(prefix), { keys: '', separator: '/' }, (answer) => {
    keys = data(answer, []);
    paint();
  });
  return view;
}

const valueField = (text) => h('label', {}, 'Value', h('textarea', { id: 'value', rows: '14', spellcheck: 'false', 'data-input': 'value', autocomplete: 'off' }, text));

function newKeyView(scope, prefix) {
  const view = { title: 'New key' };
  scope.loaded = true; // it reads nothing
  view.render = () => [
    keyCrumbs(prefix),
    title('New key'),
    h('form', { class: 'stack', 'data-act': 'create' },
      h('label', {}, 'Key', h('span', { class: 'field' }, prefix && h('span', { class: 'prefix' }, prefix),
        h('input', { id: 'key', required: true, autocomplete: 'off', spellcheck: 'false', 'aria-describedby': 'key-hint' }))),
      h('p', { id: 'key-hint', class: 'dim' }, 'A “/” makes folders; at the end it makes a folder by itself.'),
      valueField(''),
      h('div', { class: 'row' }, h('button', { class: 'main' }, 'Create'), keyLink(prefix, '', h('span', { class: 'button' }, 'Cancel')))),
  ];
  view.create = () => act(async () => {
    const key = prefix + $('key').value;
    if (!reachable(key)) throw new ApiError(OWN, 'This name cannot be used as a key in a URL. Choose another one');
    const made = data(await ask(keyPath(key), { method: 'PUT', params: { cas: 0 }, body: $('value').value }), false);
    if (made !== true) throw new ApiError(OWN, 'The key exists already. Choose another name, or edit that key');
    say('Created ' + key);
    view.dirty = null;
    go(keyHash(key));
  });
  view.dirty = () => !!$('value') && ($('value').value !== '' || $('key').value !== '');
  return view;
}

/** The text of a value, or null when it is none. */
function asText(bytes) {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    return text.includes('\0') ? null : text;
  } catch {
    return null;
  }
}

function hex(bytes) {
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, 1024); at += 16) {
    const part = [...bytes.slice(at, at + 16)];
    lines.push(at.toString(16).padStart(6, '0') + '  ' + part.map((b) => b.toString(16).padStart(2, '0')).join(' ').padEnd(47) + '  '
      + part.map((b) => (b > 31 && b < 127 ? String.fromCharCode(b) : '.')).join(''));
  }
  return lines.join('\n') + (bytes.length > 1024 ? '\n…' : '');
}

function keyView(scope, key) {
  let entry; // undefined: not read yet; null: no such key
  let base; // the entry that the editor began with
  let replace = false; // a binary value is to be replaced by text
  let saving = false;
  const view = { title: key };
  const parent = key.slice(0, key.replace(/\/$/, '').lastIndexOf('/') + 1);

  function read(answer) {
    const list = data(answer, []);
    if (!list.length) return null;
    const one = list[0];
    const bytes = one.Value ? Uint8Array.from(atob(one.Value), (c) => c.charCodeAt(0)) : new Uint8Array();
    // Flags has 64 bits: more than a JavaScript number holds.
    const flags = /"Flags":\s*(\d+)/.exec(answer.text);
    return { ...one, bytes, text: asText(bytes), flags: flags ? flags[1] : '0' };
  }
  // A text field knows "\n" only.
  const fieldText = (one) => (one.text || '').replace(/\r\n?/g, '\n');
  const onlyCrlf = (one) => one.text !== null && one.text.includes('\r\n') && !/(^|[^\r])\n|\r(?!\n)/.test(one.text);

  view.render = () => {
    const head = keyCrumbs(key);
    if (entry === undefined) return [head, title(key), loading()];
    if (entry === null && !base) return [head, title(key), empty('There is no such key.', 'It may have been deleted; the page shows it when it comes back.')];
    const moved = !saving && (!entry || entry.ModifyIndex !== base.ModifyIndex);
    const edit = base.text !== null || replace;
    return [
      head,
      title(key.split('/').filter(Boolean).pop() || key, base.Session && h('span', { class: 'badge warning' }, 'Locked')),
      moved && h('div', { class: 'notice', role: 'status' },
        h('p', {}, entry ? 'The value has changed on the server since you began to edit.' : 'The key has been deleted on the server.'),
        entry && h('button', { type: 'button', 'data-act': 'reload' }, 'Drop my text and load the new value')),
      edit ? h('form', { class: 'stack', 'data-act': 'save', 'data-key': 'edit' + base.ModifyIndex },
        valueField(replace ? '' : fieldText(base)),
        h('div', { class: 'row' }, h('button', { class: 'main' }, 'Save'), tools(), h('span', { class: 'dim' }, plural(base.bytes.length, 'byte'))),
        base.text && base.text.includes('\r') && h('p', { class: 'dim' }, onlyCrlf(base) ? 'Lines end with CR LF; saving keeps that.' : 'Lines end in several ways; saving makes all of them LF.'))
        : h('div', { class: 'stack' }, h('p', {}, 'The value is not text: ' + plural(base.bytes.length, 'byte') + '.'), h('pre', { tabindex: '0', 'aria-label': 'Value in hexadecimal' }, hex(base.bytes)),
          h('div', { class: 'row' }, h('button', { type: 'button', 'data-act': 'replace' }, 'Replace by text'), tools())),
      h('section', {}, h('h2', {}, 'About'), pairs({ key, flags: base.flags, 'locked by session': base.Session || '', 'lock index': base.LockIndex, 'create index': base.CreateIndex, 'modify index': base.ModifyIndex })),
    ];
  };
  const tools = () => [h('button', { type: 'button', 'data-act': 'download' }, 'Download'), h('button', { type: 'button', class: 'danger', 'data-act': 'delete-key' }, 'Delete')];

  view.dirty = () => !!$('value') && !!base && $('value').value !== (replace ? '' : fieldText(base));
  view.reload = () => {
    base = entry;
    replace = false;
    paint();
  };
  view.replace = () => {
    replace = true;
    paint();
    setTimeout(() => $('value') && $('value').focus());
  };
  view.save = async () => {
    if (saving) return;
    saving = true;
    await act(store);
    saving = false;
    paint();
  };
  const store = async () => {
    let text = $('value').value;
    if (onlyCrlf(base) && !replace) text = text.replace(/\n/g, '\r\n');
    const done = data(await ask(keyPath(key), { method: 'PUT', params: { cas: base.ModifyIndex, flags: base.flags }, body: text }), false);
    if (done !== true) throw new ApiError(OWN, 'Somebody else changed the key in the meantime; nothing was saved');
    const now = read(await ask(keyPath(key)));
    if (now) {
      entry = now;
      view.reload();
    }
    say('Saved');
  };
  view.deleteKey = async () => {
    if (!(await sure('Delete this key?', '“' + key + '” is deleted. This cannot be undone.', 'Delete'))) return;
    await act(async () => {
      const done = data(await ask(keyPath(key), { method: 'DELETE', params: { cas: base.ModifyIndex } }), false);
      if (done !== true) throw new ApiError(OWN, 'Somebody else changed the key in the meantime; it was not deleted');
      say('Deleted ' + key);
      base = null;
      entry = null;
      go(keyHash(parent));
    });
  };
  view.download = () => {
    const url = URL.createObjectURL(new Blob([base.bytes]));
    const a = h('a', { href: url, download: key.split('/').filter(Boolean).pop() || 'value' });
    a.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };
  if (!reachable(key)) {
    entry = null;
    scope.loaded = true;
    return view;
  }
  scope.watch(keyPath(key), {}, (answer) => {
    entry = read(answer);
    if (entry && (!base || !view.dirty())) base = entry;
    if (!entry && !view.dirty()) base = null;
    paint();
  });
  return view;
}

/* ---------- the frame ---------- */

let route = { name: '', parts: [], params: new URLSearchParams(), dc: '' };
let scope = new Scope();
let view = null;
let self = {};
let leader = '';
let failure = null; // of the last action

function parse(hash) {
  const text = hash.replace(/^#\/?/, '');
  const cut = text.indexOf('?');
  const path = cut < 0 ? text : text.slice(0, cut);
  const params = new URLSearchParams(cut < 0 ? '' : text.slice(cut + 1));
  let parts;
  try {
    parts = path.split('/').map(decodeURIComponent);
  } catch {
    parts = ['?'];
  }
  return { name: parts[0] || 'services', parts: parts.slice(1), params, dc: params.get('dc') || '' };
}

function open() {
  const { name, parts, params } = route;
  const key = parts.join('/');
  if (name === 'services') return key ? serviceView(scope, key) : servicesView(scope);
  if (name === 'nodes') return key ? nodeView(scope, key) : nodesView(scope);
  if (name === 'kv') {
    if (params.has('new')) return newKeyView(scope, key);
    return (key === '' || key.endsWith('/')) && !params.has('value') ? folderView(scope, key) : keyView(scope, key);
  }
  if (name === 'containers') return containersView(scope);
  scope.loaded = true;
  return { title: 'Not found', render: () => [title('There is no such page'), empty('Choose one of the pages above.')] };
}

let here = null; // the hash that is shown
function navigate() {
  if (location.hash === here) return;
  if (view && view.dirty && view.dirty() && !window.confirm('Leave without saving your text?')) {
    history.pushState(null, '', location.pathname + location.search + here);
    return;
  }
  const first = here === null;
  here = location.hash;
  scope.stop();
  scope = new Scope();
  failure = null;
  const before = route;
  route = parse(here);
  if (before.name !== 'kv' || before.parts.join('/') !== route.parts.join('/')) searches.kv.q = '';
  view = open();
  $('main').replaceChildren();
  paintNow();
  state();
  for (const a of document.querySelectorAll('[data-nav]')) {
    if (a.dataset.nav === route.name) a.setAttribute('aria-current', 'page');
    else a.removeAttribute('aria-current');
    a.setAttribute('href', (a.dataset.nav === 'kv' ? '#/kv/' : '#/' + a.dataset.nav) + (route.dc ? '?dc=' + enc(route.dc) : ''));
  }
  document.title = view.title + ' – Lictor';
  window.scrollTo(0, 0);
  if (!first) {
    const target = route.params.has('new') ? $('key') : $('main').querySelector('h1');
    if (target) target.focus();
  }
  about();
}

function go(path) {
  location.hash = path + (route.dc ? '?dc=' + enc(route.dc) : '');
}

let painting = false;
function paint() {
  if (painting) return;
  painting = true;
  setTimeout(paintNow);
}

function paintNow() {
  painting = false;
  morphKids($('main'), h('main', {}, view.render()));
}

/** The light at the top, and the errors under it. */
function state() {
  const errors = [...scope.errors.values()];
  const [word, kind] = errors.length ? ['Interrupted', 'critical'] : scope.loaded ? ['Live', 'passing'] : ['Loading', ''];
  const live = $('live');
  if (live.textContent !== word) live.textContent = word;
  live.className = 'live ' + kind;
  const list = [failure, errors[0]].filter(Boolean);
  morphKids($('alert'), h('div', {}, list.map((error) => {
    const [what, todo] = explain(error);
    return h('div', { class: 'error' }, h('div', {}, h('p', {}, h('strong', {}, what)), todo && h('p', {}, todo)),
      error === failure ? h('button', { type: 'button', 'data-act': 'dismiss' }, 'Dismiss') : h('button', { type: 'button', 'data-act': 'retry' }, 'Try again now'));
  })));
}

const untoast = () => document.querySelectorAll('.toast').forEach((t) => t.remove());

function say(text) {
  $('said').textContent = '';
  setTimeout(() => { $('said').textContent = text; }, 50);
  untoast();
  const toast = h('div', { class: 'toast', 'aria-hidden': 'true' }, text);
  document.body.append(toast);
  setTimeout(() => toast.remove(), 2500);
}

/** Does what the user asked for, and shows why it failed. */
async function act(work) {
  untoast();
  failure = null;
  try {
    await work();
  } catch (error) {
    failure = error;
  }
  state();
}

let answerConfirm = null;
function sure(head, text, yes) {
  $('confirm-title').textContent = head;
  $('confirm-text').textContent = text;
  $('confirm-yes').textContent = yes;
  $('confirm-dialog').showModal();
  return new Promise((done) => { answerConfirm = done; });
}
$('confirm-dialog').addEventListener('close', () => { if (answerConfirm) answerConfirm(false); answerConfirm = null; });

function tokenChanged(text) {
  if (text) sessionStorage.setItem('token', text);
  else sessionStorage.removeItem('token');
  $('token-dialog').close();
  tokenButton();
  if (!(view.dirty && view.dirty())) {
    here = null; // all is read anew
    navigate();
  }
  say(text ? 'Token set' : 'Token forgotten');
}

function tokenButton() {
  $('token-button').textContent = token() ? 'Token ✓' : 'Token';
  $('token-button').setAttribute('aria-label', token() ? 'Token, one is set' : 'Token, none is set');
}

/** Who answers. It is shown at the foot; without the right to know, it is left out. */
async function about() {
  const want = async (path, none) => {
    try { return data(await ask(path), none); } catch { return none; }
  };
  const [own, lead, dcs, followed] = await Promise.all([want('agent/self', {}), want('status/leader', ''), want('catalog/datacenters', []), want('lictor/docker/containers', null)]);
  document.querySelector('[data-nav=containers]').hidden = !followed && route.name !== 'containers';
  self = own.Config || {};
  leader = lead;
  morphKids($('foot'), h('footer', {}, [
    self.NodeName && 'Agent ' + self.NodeName + (self.Server ? ' (server)' : ' (client)'),
    self.Datacenter && 'Datacenter ' + (route.dc || self.Datacenter),
    leader ? 'Leader ' + leader : 'No leader known',
    self.Version && 'API of Consul ' + self.Version,
  ].filter(Boolean).map((t) => h('span', {}, t))));
  const known = route.dc && !dcs.includes(route.dc) ? [...dcs, route.dc] : dcs;
  const select = $('dc');
  select.closest('label').hidden = known.length < 2;
  morphKids(select, h('select', {}, known.map((dc) => h('option', { value: dc, 'data-key': dc }, dc))));
  select.value = route.dc || self.Datacenter || known[0] || '';
  if (route.name === 'nodes') paint();
}

const ACTIONS = {
  none() {},
  skip() { const head = $('main').querySelector('h1') || $('main'); head.focus(); head.scrollIntoView(); },
  token() { $('token').value = token(); $('token-dialog').showModal(); $('token').select(); },
  'token-save'() { tokenChanged($('token').value.trim()); },
  'token-forget'() { tokenChanged(''); },
  'confirm-yes'() { const done = answerConfirm; answerConfirm = null; $('confirm-dialog').close(); if (done) done(true); },
  close(node) { node.closest('dialog').close(); },
  dismiss() { failure = null; state(); },
  retry() { scope.errors.clear(); scope.retry(); if (view.changed) view.changed(); state(); },
  more() { view.limit += PAGE; paint(); if (view.changed) view.changed(); },
  create() { view.create(); },
  save() { view.save(); },
  reload() { view.reload(); },
  replace() { view.replace(); },
  download() { view.download(); },
  'delete-key'() { view.deleteKey(); },
  'delete-folder'() { view.deleteFolder(); },
};

document.addEventListener('click', (event) => {
  const node = event.target.closest('button[data-act]');
  if (node) ACTIONS[node.dataset.act](node);
  else if (!event.target.closest('a, button, summary, input') && !String(window.getSelection())) {
    const row = event.target.closest('tr.go'); // a whole row leads where its link does
    if (row) row.querySelector('a').click();
  }
});
document.addEventListener('submit', (event) => {
  event.preventDefault();
  const name = event.target.dataset.act;
  if (name) ACTIONS[name](event.target);
});
document.addEventListener('input', (event) => {
  const { input, list } = event.target.dataset;
  if (!list) return;
  searches[list][input] = event.target.value;
  view.limit = PAGE;
  paint();
  if (view.changed) view.changed();
});
document.addEventListener('keydown', (event) => {
  const typing = event.target.closest('input, textarea, select, dialog');
  if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey && $('q')) {
    event.preventDefault();
    $('q').focus();
  }
  if ((event.ctrlKey || event.metaKey) && event.key === 's' && view.save && $('value')) {
    event.preventDefault();
    view.save();
  }
});
$('dc').addEventListener('change', (event) => {
  const local = event.target.value === self.Datacenter;
  const path = '/' + route.name + (route.name === 'kv' ? '/' : '');
  location.hash = path + (local ? '' : '?dc=' + enc(event.target.value));
});
window.addEventListener('beforeunload', (event) => { if (view && view.dirty && view.dirty()) event.preventDefault(); });
window.addEventListener('hashchange', navigate);
setInterval(() => { if (document.visibilityState === 'visible') about(); }, 30000);
tokenButton();
navigate();
