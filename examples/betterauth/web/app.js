import { connect, rest, stream, Refused } from "./rpc.js";

const $ = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

// The session. These routes are better-auth's own.

async function auth(route, body) {
  const response = await fetch("/api/auth/" + route, body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  }).catch(() => { throw new Error("The server cannot be reached."); });
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Error(answer?.message ?? `better-auth answered ${response.status}`);
  return answer;
}

let shown; // the id of the user who is shown; null: nobody is signed in; undefined: not known yet

function show(user) {
  const id = user?.id ?? null;
  if (id === shown) return;
  const before = shown;
  shown = id;
  $("signed-in").hidden = !user;
  $("signed-out").hidden = Boolean(user);
  $("answer").hidden = true;
  complain("sign-out-problem");
  if (!user) {
    if (before) choose(false);
    return;
  }
  clear(); // the stream was another's
  $("initial").textContent = [...user.name][0]?.toUpperCase() ?? "?";
  $("who-name").textContent = user.name;
  $("who-email").textContent = user.email;
}

/** Shows who is signed in by now: another tab may have changed that. */
async function refresh() {
  try {
    show((await auth("get-session"))?.user);
  } catch {
    if (shown === undefined) show(null);
  }
}

const tabs = new BroadcastChannel("session");
tabs.onmessage = refresh;
document.onvisibilitychange = () => document.visibilityState === "visible" && refresh();

/** Shows a problem, or none. */
function complain(where, error) {
  $(where).textContent = error?.message ?? "";
  $(where).hidden = !error;
}

/** Runs one thing at a time, without taking the focus from a button as disabling it would. */
let busy = false;
async function once(button, does) {
  if (busy) return;
  busy = true;
  button.setAttribute("aria-disabled", "true");
  try {
    await does();
  } finally {
    busy = false;
    button.removeAttribute("aria-disabled");
  }
}

let signingUp = true;

function choose(up) {
  signingUp = up;
  $("mode-up").setAttribute("aria-pressed", String(up));
  $("mode-in").setAttribute("aria-pressed", String(!up));
  $("name-field").hidden = !up;
  $("name").disabled = !up;
  $("password").autocomplete = up ? "new-password" : "current-password";
  $("submit").textContent = up ? "Sign up" : "Sign in";
  complain("problem");
}

$("mode-up").onclick = () => choose(true);
$("mode-in").onclick = () => choose(false);

$("form").onsubmit = (event) => {
  event.preventDefault();
  const form = event.target;
  const { name, ...credentials } = Object.fromEntries(new FormData(form));
  complain("problem");
  once($("submit"), async () => {
    try {
      const { user } = signingUp
        ? await auth("sign-up/email", { name, ...credentials })
        : await auth("sign-in/email", credentials);
      form.reset();
      show(user);
      $("sign-out").focus();
      tabs.postMessage(null);
    } catch (error) {
      complain("problem", error);
    }
  });
};

$("sign-out").onclick = () => once($("sign-out"), async () => {
  complain("sign-out-problem");
  try {
    await auth("sign-out", {});
    show(null);
    $("email").focus();
    tabs.postMessage(null);
  } catch (error) {
    complain("sign-out-problem", new Error(`You are still signed in. ${error.message}`));
  }
});

// A unary call.

const answers = {
  ANSWERED_BY_MEMORY: ["memory", "Answered from memory"],
  ANSWERED_BY_OWNER: ["owner", "better-auth was asked"],
};

async function call(way) {
  const start = performance.now();
  let by, label, fields;
  try {
    const who = await way();
    [by, label] = answers[who.answeredBy] ?? ["owner", "Answered"];
    fields = {
      subject: who.subject,
      name: who.name,
      email: who.email,
      roles: who.roles?.join(", "),
      "good until": date.format(new Date(who.expiresAt)),
      "better-auth asked": `${who.verifications ?? 0} in all`,
    };
  } catch (error) {
    [by, label, fields] = ["refused", "Refused", refusal(error)];
    if (error.code === "unauthenticated") await refresh();
  }
  $("badge").textContent = label;
  $("badge").dataset.by = by;
  $("took").textContent = `in ${(performance.now() - start).toFixed(0)} ms`;
  $("fields").replaceChildren(...Object.entries(fields).filter(([, value]) => value).flatMap(([key, value]) => {
    const [term, definition] = [document.createElement("dt"), document.createElement("dd")];
    [term.textContent, definition.textContent] = [key, value];
    return [term, definition];
  }));
  $("answer").hidden = false;
}

function refusal(error) {
  if (error instanceof Refused) return { code: error.code, message: error.message, reason: error.reason };
  return { message: "the server cannot be reached" };
}

$("call-connect").onclick = () => call(() => connect("WhoAmI"));
$("call-rest").onclick = () => call(() => rest("/v1/whoami"));

// A stream.

let opened = null; // aborts the open stream

$("watch").onclick = async () => {
  if (opened) {
    opened.abort();
    return;
  }
  clear();
  const mine = opened = new AbortController();
  $("watch").textContent = "Close the stream";
  state("open", "Opening");
  let ticking = false;
  try {
    for await (const message of stream("Watch", mine.signal)) {
      if (opened !== mine) return;
      ticking = true;
      state("open", "Open");
      line(`${clock.format(new Date(message.at))} · tick ${message.tick} for ${message.name}`);
    }
    if (opened === mine) state("idle", "The server is closing");
  } catch (error) {
    if (opened !== mine) return;
    if (mine.signal.aborted) {
      state("idle", "Closed by this page");
      return;
    }
    const { code, message, reason } = refusal(error);
    const [ended, never] = error instanceof Refused ? ["Ended by the server", "Refused"] : ["Cut off", "Not reached"];
    state("refused", ticking ? ended : never);
    line(`${clock.format(new Date())} · ${[code, message, reason].filter(Boolean).join(" · ")}`, "end");
    if (code === "unauthenticated") refresh();
  } finally {
    if (opened === mine) idle();
  }
};

/** The button opens a stream again. */
function idle() {
  opened = null;
  $("watch").textContent = "Open a stream";
}

/** Closes the stream, if one is open, and leaves nothing of it. */
function clear() {
  opened?.abort();
  idle();
  state("idle", "Not open");
  $("ticks").replaceChildren();
  $("ticks").hidden = true;
}

function state(name, text) {
  if ($("status").textContent !== text) $("status").textContent = text; // it is read aloud
  $("status").dataset.state = name;
}

function line(text, kind) {
  const item = document.createElement("li");
  item.textContent = text;
  if (kind) item.className = kind;
  $("ticks").append(item);
  while ($("ticks").children.length > 100) $("ticks").firstChild.remove();
  $("ticks").hidden = false;
  $("ticks").scrollTop = $("ticks").scrollHeight;
}

refresh();
