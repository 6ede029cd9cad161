const $ = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const ms = (n) => (n < 10 ? n.toFixed(1) : n.toFixed(0)) + " ms";

const by = {
  hit: "from memory",
  fetched: "verified by another replica",
  miss: "the owner was asked",
  shared: "the owner was asked",
  stale: "from memory, past its time",
};

const replicas = []; // the parts of each one's card

function log(text) {
  const item = document.createElement("li");
  item.textContent = `${clock.format(new Date())} · ${text}`;
  $("log").append(item);
  while ($("log").children.length > 200) $("log").firstChild.remove();
  $("log").scrollTop = $("log").scrollHeight;
}

/** Asks the server for something, and shows the problem if there is one. */
async function ask(route, method = "POST") {
  try {
    const response = await fetch("/api/" + route, { method });
    if (!response.ok) throw new Error(await response.text());
    $("problem").hidden = true;
    return await response.json();
  } catch (error) {
    $("problem").textContent = error instanceof TypeError ? "The server cannot be reached." : error.message;
    $("problem").hidden = false;
    return null;
  }
}

/** Runs what a button does once at a time, without taking the focus from it as disabling it would. */
function on(button, does) {
  button.onclick = async () => {
    if (button.getAttribute("aria-disabled")) return;
    button.setAttribute("aria-disabled", "true");
    try {
      await does();
    } finally {
      button.removeAttribute("aria-disabled");
      await refresh();
    }
  };
}

/** Text is read aloud when it changes, and only then. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

async function refresh() {
  const state = await ask("state", "GET");
  if (!state) return;
  state.replicas.forEach((r, n) => {
    if (!replicas[n]) add(r, n);
    const card = replicas[n];
    card.bus.dataset.heard = r.heard;
    const was = card.bus.textContent;
    say(card.bus, r.heard ? "Hears the bus" : "Cut off: asks the owner again after a second");
    if (was && was !== card.bus.textContent) log(`${r.name}: ${r.heard ? "hears the bus again" : "has not heard the bus for a second"}`);
    card.cut.setAttribute("aria-pressed", r.cut);
    card.isCut = r.cut;
  });
  const times = state.asked === 1 ? "once" : `${state.asked} times`;
  say($("who"), state.name ? `${state.name} is signed in. The owner was asked ${times} about this session, by all replicas together.` : "Nobody is signed in.");
}

function add(r, n) {
  const card = $("replica").content.cloneNode(true);
  const part = (name) => card.querySelector("." + name);
  const parts = { bus: part("bus"), answer: part("answer"), stream: part("stream"), reached: part("reached"), cut: part("cut"), name: r.name };
  const section = card.querySelector("section");
  section.setAttribute("aria-labelledby", `replica-${n}`);
  const title = card.querySelector("h2");
  [title.id, title.textContent] = [`replica-${n}`, r.name];
  part("address").textContent = r.addr;
  for (const button of section.querySelectorAll("button")) button.setAttribute("aria-describedby", title.id);
  on(part("call"), () => call(n));
  on(part("sign-out"), () => signOut(n));
  on(part("cut"), () => ask(`cut?replica=${n}&cut=${!parts.isCut}`));
  replicas[n] = parts;
  $("log").closest("section").before(section);
}

function put(element, text, refused) {
  say(element, text);
  element.classList.toggle("refused", refused);
}

async function call(n) {
  const answers = await ask(n === undefined ? "call" : `call?replica=${n}`);
  for (const a of answers ?? []) {
    const ok = a.code === "OK";
    const text = ok ? `${a.name}, ${by[a.by] ?? a.by}, ${ms(a.tookMs)}` : `${a.code} ${a.reason ?? ""}`;
    put(replicas[a.replica].answer, text, !ok);
    log(`${replicas[a.replica].name}: call: ${text}`);
  }
}

async function signOut(n) {
  log(`${replicas[n].name}: signing out here`);
  const out = await ask(`sign-out?replica=${n}`);
  if (!out) return;
  if (out.code !== "OK") log(`${replicas[n].name}: ${out.code}: ${out.message}`);
  for (const r of out.reached ?? []) {
    const refused = r.refusedMs === null ? "not refused in time" : `calls refused after ${ms(r.refusedMs)}`;
    const text = r.streamMs === null ? refused : `${refused}, stream ended after ${ms(r.streamMs)}`;
    put(replicas[r.replica].reached, text, false);
    log(`${replicas[r.replica].name}: ${text}`);
  }
}

let watching = null; // aborts the streams

async function watch() {
  watching?.abort();
  const mine = watching = new AbortController();
  for (const r of replicas) put(r.stream, "opening", false);
  const ticks = replicas.map(() => 0);
  try {
    const response = await fetch("/api/watch", { signal: mine.signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        const t = JSON.parse(line);
        const r = replicas[t.replica];
        if (!t.ended) {
          put(r.stream, `open, tick ${++ticks[t.replica]}`, false);
          continue;
        }
        put(r.stream, `ended: ${t.code} ${t.reason ?? ""}`, true);
        log(`${r.name}: the stream has ended: ${t.code} ${t.reason ?? ""}`);
      }
    }
  } catch {
    if (!mine.signal.aborted) for (const r of replicas) put(r.stream, "cut off", true);
  }
}

on($("sign-in"), async () => {
  if (!await ask("sign-in")) return;
  watching?.abort();
  for (const r of replicas) {
    put(r.answer, "none yet", false);
    put(r.stream, "not open", false);
    put(r.reached, "not yet", false);
  }
  log("Signed in");
});
on($("call"), () => call());
on($("watch"), () => { watch(); });

await refresh();
setInterval(() => document.visibilityState === "visible" && refresh(), 500);
