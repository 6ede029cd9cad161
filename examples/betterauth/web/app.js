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
  });
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Error(answer?.message ?? `better-auth answered ${response.status}`);
  return answer;
}

function show(user) {
  $("signed-in").hidden = !user;
  $("signed-out").hidden = Boolean(user);
  if (!user) return;
  $("initial").textContent = [...user.name][0]?.toUpperCase() ?? "?";
  $("who-name").textContent = user.name;
  $("who-email").textContent = user.email;
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
  $("problem").hidden = true;
}

$("mode-up").onclick = () => choose(true);
$("mode-in").onclick = () => choose(false);

$("form").onsubmit = async (event) => {
  event.preventDefault();
  const { name, ...credentials } = Object.fromEntries(new FormData(event.target));
  $("submit").disabled = true;
  $("problem").hidden = true;
  try {
    const { user } = signingUp
      ? await auth("sign-up/email", { name, ...credentials })
      : await auth("sign-in/email", credentials);
    event.target.reset();
    $("answer").hidden = true;
    show(user);
    $("sign-out").focus();
  } catch (error) {
    $("problem").textContent = error.message;
    $("problem").hidden = false;
  } finally {
    $("submit").disabled = false;
  }
};

$("sign-out").onclick = async () => {
  $("sign-out").disabled = true;
  try {
    await auth("sign-out", {});
    $("answer").hidden = true;
    show(null);
    choose(false);
    $("email").focus();
  } finally {
    $("sign-out").disabled = false;
  }
};

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
  opened = new AbortController();
  $("watch").textContent = "Close the stream";
  $("ticks").replaceChildren();
  state("open", "Opening");
  try {
    for await (const message of stream("Watch", opened.signal)) {
      state("open", "Open");
      line(`${clock.format(new Date(message.at))} · tick ${message.tick} for ${message.name}`);
    }
    state("idle", "The server is closing");
  } catch (error) {
    if (opened.signal.aborted) {
      state("idle", "Closed by this page");
    } else {
      const { code, message, reason } = refusal(error);
      state("refused", "Ended by the server");
      line(`${clock.format(new Date())} · ${[code, message, reason].filter(Boolean).join(" · ")}`, "end");
    }
  } finally {
    opened = null;
    $("watch").textContent = "Open a stream";
  }
};

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

auth("get-session").then((session) => show(session?.user), () => show(null));
