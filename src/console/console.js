// The console. Everything that it shows goes through `make`, which makes text of it: nothing that a
// provider or a receiver sent is ever markup.

const TOKEN = "ringback-token";
const PAGE = 50;
// How often a list is asked for again while "live" is ticked.
const LIVE_MS = 2000;
const main = document.getElementById("main");
const problem = document.getElementById("problem");
const live = document.getElementById("live");

// An element with attributes, listeners ("onclick") and children; strings are text.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

// What the API says is wrong, in its own words.
class Refused extends Error {
  constructor(status, body) {
    const faults = (body.errors ?? []).map(
      (fault) => `${fault.pointer ?? ""} ${fault.line ? `${fault.line}:${fault.column} ` : ""}${fault.detail}`,
    );
    super([body.detail ?? body.title ?? `the server answered ${status}`, ...faults].join("\n"));
    this.status = status;
    this.body = body;
  }
}

async function ask(path, { method = "GET", body, query } = {}) {
  const url = new URL(path, location.origin);
  for (const [key, value] of Object.entries(query ?? {})) if (value) url.searchParams.set(key, value);
  const headers = { authorization: `Bearer ${sessionStorage.getItem(TOKEN)}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await answer.text();
  let json = {};
  try {
    json = text === "" ? {} : JSON.parse(text);
  } catch {
    json = { detail: text };
  }
  if (!answer.ok) throw new Refused(answer.status, json);
  return json;
}

function complain(error) {
  if (error instanceof Refused && error.status === 401) {
    sessionStorage.removeItem(TOKEN);
    enter();
    problem.textContent = "No account has this token.";
  } else {
    problem.textContent = error.message;
  }
  problem.hidden = false;
}

function calm() {
  problem.hidden = true;
}

// A button that is not pressed twice.
function act(label, does, attributes = {}) {
  const button = make("button", {
    type: "button",
    ...attributes,
    onclick: async () => {
      button.disabled = true;
      calm();
      try {
        await does();
      } catch (error) {
        complain(error);
      } finally {
        button.disabled = false;
      }
    },
  }, label);
  return button;
}

const TIMES = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });

function time(at) {
  if (!at) return make("span", { class: "quiet" }, "–");
  return make("time", { datetime: at, title: at }, TIMES.format(new Date(at)));
}

const GOOD = new Set(["delivered", "active", "accepted", "ready"]);
const BAD = new Set(["dead", "failed", "rejected", "paused", "refused"]);

function state(name) {
  return make("span", { class: GOOD.has(name) ? "good" : BAD.has(name) ? "bad" : "waiting" }, name ?? "–");
}

function link(room, id) {
  if (!id) return make("span", { class: "quiet" }, "–");
  return make("a", { class: "id", href: `#${room}/${encodeURIComponent(id)}` }, id);
}

const text = (value) => (value === null || value === undefined || value === "" ? "–" : String(value));

// JSON to read; other text as it is. Numbers keep their spelling: nothing is parsed and printed anew.
function body(content) {
  return make("pre", { tabindex: "0" }, content === "" ? "(empty)" : indent(content));
}

// Breaks JSON into lines without reading its values.
function indent(content) {
  try {
    JSON.parse(content);
  } catch {
    return content;
  }
  if (content.includes("\n")) return content;
  let out = "";
  let depth = 0;
  let inside = false;
  const line = () => `\n${"  ".repeat(depth)}`;
  for (let at = 0; at < content.length; at += 1) {
    const letter = content[at];
    if (inside) {
      out += letter;
      if (letter === "\\") {
        at += 1;
        out += content[at];
      } else if (letter === '"') inside = false;
    } else if (letter === '"') {
      inside = true;
      out += letter;
    } else if (letter === "{" || letter === "[") {
      const close = letter === "{" ? "}" : "]";
      if (content.slice(at + 1).trimStart()[0] === close) {
        out += letter + close;
        at = content.indexOf(close, at);
      } else {
        depth += 1;
        out += letter + line();
      }
    } else if (letter === "}" || letter === "]") {
      depth -= 1;
      out += line() + letter;
    } else if (letter === ",") out += letter + line();
    else if (letter === ":") out += ": ";
    else if (letter.trim() !== "") out += letter;
  }
  return out;
}

function facts(rows) {
  return make("dl", {}, rows.map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

// A table whose rows may be opened.
function table(columns, rows, open) {
  if (rows.length === 0) return make("p", { class: "quiet" }, "Nothing here.");
  const head = make("thead", {}, make("tr", {}, columns.map(([name, , kind]) => make("th", { scope: "col", class: kind ?? false }, name))));
  const cells = (row) =>
    columns.map(([, cell, kind]) => {
      const value = cell(row);
      return make("td", { class: kind ?? false }, value instanceof Node ? value : text(value));
    });
  const lines = rows.map((row) => {
    if (!open) return make("tr", {}, cells(row));
    return make("tr", {
      class: "open",
      onclick: (event) => {
        if (!event.target.closest("a, button") && getSelection().isCollapsed) location.hash = open(row);
      },
    }, cells(row));
  });
  return make("div", { class: "scroll" }, make("table", {}, head, make("tbody", {}, lines)));
}

// A room with a list: filters above, rows below, more on demand. It refreshes itself while "live" is
// ticked and nothing older was asked for.
function listRoom({ title, path, filters, columns, open, beside }) {
  return async (shown) => {
    const chosen = new URLSearchParams(shown.query);
    const form = make("form", {
      onsubmit: (event) => {
        event.preventDefault();
        const given = new URLSearchParams();
        for (const [name, value] of new FormData(form)) if (value.trim()) given.set(name, value.trim());
        location.hash = `${shown.room}?${given}`;
      },
    });
    for (const { name, label, options } of filters) {
      const value = chosen.get(name) ?? "";
      if (options) {
        const choices = ["", ...options].map((option) =>
          make("option", { value: option, selected: option === value }, option || label));
        form.append(make("select", { name, "aria-label": label, onchange: () => form.requestSubmit() }, choices));
      } else {
        form.append(make("input", { name, placeholder: label, "aria-label": label, value }));
      }
    }
    if (filters.length > 0) form.append(make("button", {}, "Filter"));
    const rows = make("div");
    const more = make("div", { class: "row" });
    let all = [];
    let cursor = null;
    const query = () => ({ ...Object.fromEntries(chosen), limit: PAGE });
    const draw = () => {
      rows.replaceChildren(table(columns, all, open));
      more.replaceChildren();
      if (cursor) {
        more.append(act("More", async () => {
          const page = await ask(path, { query: { ...query(), cursor } });
          all = all.concat(page.data);
          cursor = page.next;
          draw();
        }));
      }
    };
    const load = async () => {
      const page = await ask(path, { query: query() });
      all = page.data;
      cursor = page.next;
      draw();
    };
    await load();
    shown.refresh = async () => {
      if (all.length <= PAGE) await load();
    };
    return [make("h1", {}, title), form, beside ? beside(load, chosen) : null, rows, more];
  };
}

const deliveries = listRoom({
  title: "Deliveries",
  path: "/v1/deliveries",
  filters: [
    { name: "state", label: "any state", options: ["queued", "leased", "delivered", "dead", "failed", "cancelled"] },
    { name: "callback_id", label: "callback" },
    { name: "call_id", label: "call" },
  ],
  columns: [
    ["made", (row) => time(row.created_at)],
    ["state", (row) => state(row.state)],
    ["event", (row) => row.event_type],
    ["call", (row) => link("calls", row.call_id)],
    ["callback", (row) => (row.callback_id ? link("callbacks", row.callback_id) : row.speech_request_id)],
    ["attempts", (row) => row.attempts, "number"],
    ["next", (row) => time(row.next_attempt_at)],
    ["reason", (row) => row.reason, "wide"],
  ],
  open: (row) => `deliveries/${row.id}`,
  beside: (load, chosen) =>
    make("div", { class: "row" }, act("Retry all that are dead", async () => {
      if (!confirm("Try all dead deliveries of this list again, now?")) return;
      const only = {};
      if (chosen.get("callback_id")) only.callback = chosen.get("callback_id");
      if (chosen.get("call_id")) only.call = chosen.get("call_id");
      let cursor = null;
      do {
        const page = await ask("/v1/deliveries/retry", { method: "POST", body: { ...only, ...(cursor ? { cursor } : {}) } });
        cursor = page.next ?? null;
      } while (cursor);
      await load();
    })),
});

const ATTEMPT = [
  ["#", (row) => row.number, "number"],
  ["at", (row) => time(row.started_at)],
  ["took", (row) => `${row.latency_ms} ms`, "number"],
  ["outcome", (row) => state(row.outcome)],
  ["status", (row) => row.status],
  ["error", (row) => row.error, "wide"],
  ["response", (row) => row.response, "wide"],
];

async function delivery(shown) {
  const found = await ask(`/v1/deliveries/${shown.id}`);
  const { request, attempts } = found;
  if (!["delivered", "dead", "failed", "cancelled"].includes(found.state)) shown.refresh = route;
  return [
    make("h1", {}, "Delivery ", make("span", { class: "id" }, found.id)),
    ["dead", "queued"].includes(found.state)
      ? make("div", { class: "row" }, act("Try again now", async () => {
        await ask(`/v1/deliveries/${found.id}/retry`, { method: "POST" });
        await route();
      }))
      : null,
    facts([
      ["state", state(found.state)],
      ["reason", text(found.reason)],
      ["event", make("span", {}, `${text(found.event_type)} `, link("events", found.event_id))],
      ["call", link("calls", found.call_id)],
      ["callback", found.callback_id ? link("callbacks", found.callback_id) : text(found.speech_request_id)],
      ["made", time(found.created_at)],
      ["finished", time(found.finished_at)],
      ["next attempt", time(found.next_attempt_at)],
      ["replayed as", link("deliveries", found.replayed_as)],
    ]),
    make("h2", {}, "What was sent"),
    request
      ? [make("p", {}, `${request.method} `, make("span", { class: "id" }, request.url), make("span", { class: "quiet" }, ` ${request.content_type}`)), body(request.body ?? "")]
      : make("p", { class: "quiet" }, found.not_rendered ?? found.withheld ?? "Nothing: there is no request, or it is not kept any more."),
    make("h2", {}, "What came back"),
    table(ATTEMPT, attempts),
  ];
}

const callbacks = listRoom({
  title: "Callbacks",
  path: "/v1/callbacks",
  filters: [],
  columns: [
    ["made", (row) => time(row.created_at)],
    ["state", (row) => state(row.state)],
    ["description", (row) => row.description, "wide"],
    ["to", (row) => make("span", { class: "id" }, `${row.callback_method} ${row.callback_url}`), "wide"],
    ["events", (row) => (row.events ?? []).join(", "), "wide"],
  ],
  open: (row) => `callbacks/${row.id}`,
});

async function callback(shown) {
  const found = await ask(`/v1/callbacks/${shown.id}`);
  const result = make("div");
  const post = (what) => async () => {
    await ask(`/v1/callbacks/${found.id}/${what}`, { method: "POST" });
    await route();
  };
  const { callback_data: template, id, ...others } = found;
  return [
    make("h1", {}, "Callback ", make("span", { class: "id" }, id)),
    make("div", { class: "row" },
      found.state === "active" ? act("Pause", post("pause")) : act("Resume", post("resume")),
      act("Send a test", async () => {
        const tried = await ask(`/v1/callbacks/${id}/test`, { method: "POST", body: {} });
        const { request, attempt } = tried;
        result.replaceChildren(
          make("h2", {}, "The test: what was sent"),
          make("p", {}, `${request.method} `, make("span", { class: "id" }, request.url), make("span", { class: "quiet" }, ` a sample of ${tried.sample}`)),
          body(request.body),
          make("h2", {}, "What came back"),
          table(ATTEMPT, [attempt]),
        );
      }),
      act("Replay what failed", async () => {
        if (!confirm("Make all failed deliveries of this callback anew?")) return;
        let cursor = null;
        let made = 0;
        do {
          const page = await ask(`/v1/callbacks/${id}/replay`, { method: "POST", body: { only: "failed", ...(cursor ? { cursor } : {}) } });
          made += page.replayed;
          cursor = page.next ?? null;
        } while (cursor);
        result.replaceChildren(make("p", {}, `${made} made anew.`));
      }),
      make("a", { href: `#deliveries?callback_id=${id}` }, "Its deliveries"),
      make("a", { href: "#template", onclick: () => sessionStorage.setItem("ringback-template", template) }, "Try its template")),
    result,
    facts(Object.entries(others).map(([name, value]) => [
      name,
      name === "state" ? state(value) : make("span", { class: "id" }, typeof value === "string" ? value : JSON.stringify(value)),
    ])),
    make("h2", {}, "callback_data"),
    make("pre", { tabindex: "0" }, template),
  ];
}

const calls = listRoom({
  title: "Calls",
  path: "/v1/calls",
  filters: [
    { name: "phrase", label: "was said" },
    { name: "summary", label: "in the summary" },
    { name: "call_status", label: "status" },
    { name: "language", label: "language" },
  ],
  columns: [
    ["known since", (row) => time(row.created_at)],
    ["call", (row) => make("span", { class: "id" }, row.id)],
    ["space", (row) => row.call_space],
    ["began", (row) => time(row.context?.start_at)],
    ["seconds", (row) => row.context?.call_duration, "number"],
    ["status", (row) => row.context?.call_status],
    ["summary", (row) => row.context?.speech_summary, "wide"],
  ],
  open: (row) => `calls/${encodeURIComponent(row.id)}?call_space=${encodeURIComponent(row.call_space)}`,
});

async function call(shown) {
  const query = Object.fromEntries(new URLSearchParams(shown.query));
  const path = `/v1/calls/${encodeURIComponent(shown.id)}`;
  const found = await ask(path, { query });
  return [
    make("h1", {}, "Call ", make("span", { class: "id" }, found.id)),
    make("div", { class: "row" },
      make("a", { href: `#deliveries?call_id=${encodeURIComponent(found.id)}` }, "Its deliveries"),
      make("a", { href: `#events?call_id=${encodeURIComponent(found.id)}` }, "Its events"),
      act("Erase", async () => {
        if (!confirm(`Erase all that is known of ${found.id}? It cannot be taken back.`)) return;
        await ask(path, { method: "DELETE", query: { call_space: found.call_space } });
        location.hash = "calls";
      })),
    facts([["space", text(found.call_space)]]),
    make("h2", {}, "What is known"),
    facts(Object.entries(found.context ?? {}).map(([name, value]) => [
      make("code", {}, name),
      typeof value === "object" && value !== null ? body(JSON.stringify(value)) : text(value),
    ])),
  ];
}

const events = listRoom({
  title: "Events",
  path: "/v1/events",
  filters: [
    { name: "state", label: "any state", options: ["accepted", "rejected"] },
    { name: "source", label: "source" },
    { name: "type", label: "type" },
    { name: "call_id", label: "call" },
  ],
  columns: [
    ["received", (row) => time(row.received_at)],
    ["state", (row) => state(row.state)],
    ["source", (row) => row.source],
    ["types", (row) => (row.types ?? []).join(", ")],
    ["call", (row) => link("calls", row.call_id)],
    ["reason", (row) => row.reason, "wide"],
  ],
  open: (row) => `events/${row.id}`,
});

async function event(shown) {
  const { body: raw, ...found } = await ask(`/v1/events/${shown.id}`);
  return [
    make("h1", {}, "Event ", make("span", { class: "id" }, found.id)),
    facts(Object.entries(found).map(([name, value]) => [
      name,
      name === "state" ? state(value)
        : name === "call_id" ? link("calls", value)
        : name === "received_at" ? time(value)
        : make("span", { class: "id" }, Array.isArray(value) ? value.join(", ") : text(value)),
    ])),
    make("h2", {}, "What came in"),
    body(raw ?? ""),
  ];
}

const SAMPLES = ["speech.completed", "speech.failed", "call.started", "call.updated", "call.ended",
  "call.recording_ready", "call.transferred", "survey.completed"];
const FIRST = '{\n  "call": {call_id},\n  "seconds": {call_duration},\n  "said": {speech_result},\n  "summary": {speech_summary}\n}\n';

// Where a fault is, as the command line draws it.
function mark(source, fault) {
  if (!fault.line) return null;
  const line = source.split("\n")[fault.line - 1] ?? "";
  // As wide as what stands before it, tabs as tabs.
  const before = [...line].slice(0, fault.column - 1).map((letter) => (letter === "\t" ? "\t" : " ")).join("");
  return make("pre", {}, `${line}\n${before}${"^".repeat(Math.max(1, Math.min(fault.length ?? 1, line.length - before.length)))}`);
}

async function template() {
  const source = make("textarea", { spellcheck: "false", "aria-label": "callback_data" });
  source.value = sessionStorage.getItem("ringback-template") ?? FIRST;
  const sample = make("select", { "aria-label": "sample" }, SAMPLES.map((name) => make("option", {}, name)));
  const known = make("input", { placeholder: "or the id of a call or an event", "aria-label": "call or event" });
  const out = make("div", { "aria-live": "polite" });
  let asked = 0;
  const preview = async () => {
    asked += 1;
    const mine = asked;
    const content = source.value;
    sessionStorage.setItem("ringback-template", content);
    const id = known.value.trim();
    const against = id.startsWith("ev_") ? { event_id: id } : id ? { call_id: id } : { sample: sample.value };
    const shown = [];
    try {
      const answer = await ask("/v1/templates/render", { method: "POST", body: { callback_data: content, ...against } });
      shown.push(make("p", { class: "good" }, "This is what would be sent:"), body(answer.body));
      for (const fault of answer.warnings ?? []) shown.push(make("p", { class: "waiting" }, fault.detail ?? fault));
    } catch (error) {
      if (!(error instanceof Refused) || error.status === 401) throw error;
      const faults = error.body.errors ?? [];
      shown.push(make("p", { class: "bad" }, faults.length > 1 ? `${faults.length} problems:` : error.body.detail));
      shown.push(make("ol", { class: "faults" }, faults.map((fault) => make("li", {},
        `${fault.line ? `line ${fault.line}, column ${fault.column}: ` : ""}${fault.detail}`,
        fault.suggestion ? ` – did you mean ${fault.suggestion}?` : "",
        mark(content, fault)))));
    }
    if (mine === asked) out.replaceChildren(...shown);
  };
  let soon = 0;
  const later = () => {
    clearTimeout(soon);
    soon = setTimeout(() => preview().then(calm, complain), 250);
  };
  source.addEventListener("input", later);
  sample.addEventListener("change", later);
  known.addEventListener("input", later);
  await preview();
  const { data: names } = await ask("/v1/placeholders");
  return [
    make("h1", {}, "Template"),
    make("div", { class: "halves" },
      make("section", {}, make("div", { class: "row" }, "with", sample, known), source),
      make("section", {}, out)),
    make("h2", {}, "Placeholders"),
    table([
      ["name", (row) => act(row.name, async () => {
        source.setRangeText(`{${row.name}}`, source.selectionStart, source.selectionEnd, "end");
        source.focus();
        later();
      })],
      ["type", (row) => row.type],
      ["meaning", (row) => row.meaning, "wide"],
      ["for example", (row) => make("span", { class: "id" }, JSON.stringify(row.example)), "wide"],
    ], names),
  ];
}

const ROOMS = {
  deliveries: [deliveries, delivery],
  callbacks: [callbacks, callback],
  calls: [calls, call],
  events: [events, event],
  template: [template, template],
};

// What is shown: the room, and how it refreshes itself.
let current = {};

async function route() {
  if (!sessionStorage.getItem(TOKEN)) {
    enter();
    return;
  }
  const [path, query = ""] = location.hash.slice(1).split("?");
  const [room, ...rest] = path.split("/");
  const name = ROOMS[room] ? room : "deliveries";
  const id = rest.length > 0 ? decodeURIComponent(rest.join("/")) : null;
  const shown = { room: name, id, query, refresh: null };
  current = shown;
  for (const anchor of document.querySelectorAll("#rooms a")) {
    if (anchor.hash === `#${name}`) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  for (const element of [document.getElementById("rooms"), document.getElementById("leave"), live]) element.hidden = false;
  try {
    const content = await ROOMS[name][id === null ? 0 : 1](shown);
    // Another room was asked for meanwhile.
    if (current !== shown) return;
    calm();
    main.replaceChildren(...content.flat(Infinity).filter(Boolean));
    document.title = `${main.querySelector("h1")?.textContent ?? name} – Ringback`;
  } catch (error) {
    if (current === shown) complain(error);
  }
}

function enter() {
  current = {};
  for (const element of [document.getElementById("rooms"), document.getElementById("leave"), live]) element.hidden = true;
  const token = make("input", { type: "password", placeholder: "rbk_…", autocomplete: "off", size: "50", "aria-label": "token" });
  main.replaceChildren(
    make("h1", {}, "The console"),
    make("p", {}, "It shows what one account may see. Its token is kept in this tab until it is closed."),
    make("form", {
      onsubmit: (event) => {
        event.preventDefault();
        if (!token.value.trim()) return;
        sessionStorage.setItem(TOKEN, token.value.trim());
        calm();
        route();
      },
    }, token, make("button", { class: "first" }, "Show")),
  );
  token.focus();
}

document.getElementById("leave").addEventListener("click", () => {
  sessionStorage.removeItem(TOKEN);
  calm();
  enter();
});
setInterval(() => {
  if (live.querySelector("input").checked && !document.hidden && current.refresh) current.refresh().then(calm, complain);
}, LIVE_MS);
addEventListener("hashchange", route);
// `#token=…`, as `ringback demo --keep` prints it: taken, and out of the address and its history.
if (location.hash.startsWith("#token=")) {
  sessionStorage.setItem(TOKEN, decodeURIComponent(location.hash.slice("#token=".length)));
  history.replaceState(null, "", `${location.pathname}#deliveries`);
}
route();
