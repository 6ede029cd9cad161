// Drives ./page in Chromium: Connect and server-sent events straight to a server in Go.
//
//	node page.mjs <url of the page> <url of a page of others> <path of chromium> <a name for pictures>
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [url, foreignURL, executablePath, pictures] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
const context = await browser.newContext({ viewport: { width: 900, height: 520 }, colorScheme: "light", ignoreHTTPSErrors: true });
context.setDefaultTimeout(45_000);
const page = await context.newPage();
const problems = [];
page.on("pageerror", (error) => problems.push(String(error)));

/** One thing that a user does and sees. */
async function step(name, does) {
  try {
    await does();
  } catch (error) {
    await page.screenshot({ path: `${pictures}-failed.png`, fullPage: true });
    console.error(`${name}: ${error.message}`);
    await browser.close();
    process.exit(1);
  }
  console.log(name);
}

const picture = (name) => page.screenshot({ path: `${pictures}-${name}.png`, fullPage: true });
const text = (selector) => page.locator(selector).innerText();
const seen = (selector, what) => page.locator(selector).filter({ hasText: what }).first().waitFor();
const doors = ["connect", "plain", "events"];

async function call() {
  await page.click("#call");
  await page.waitForFunction(() => document.getElementById("answer").textContent !== "");
  return text("#answer");
}

async function signIn() {
  await page.evaluate(() => fetch("/sign-in", { method: "POST" }));
  await page.evaluate(() => { document.getElementById("who").textContent = "Ada"; });
}

await step("the page opens, and nobody is signed in", async () => {
  await page.goto(url);
  await page.locator("body[data-ready=yes]").waitFor();
  assert.equal(await call(), "connect: Unauthenticated · missing credentials · MISSING_CREDENTIALS; plain: Unauthenticated · HTTP 401");
});
await step("nobody's streams are refused, and not tried again", async () => {
  await page.click("#open");
  await seen("#connect li", "Ended: Unauthenticated · missing credentials · MISSING_CREDENTIALS");
  await seen("#plain li", "Ended: Unauthenticated · HTTP 401");
  await seen("#events li", "Closed");
  for (const id of doors) assert.equal(await page.locator(`#${id} li`).count(), 1);
});
await step("Ada signs in with a cookie that is not for scripts", async () => {
  await signIn();
  assert.equal(await page.evaluate(() => document.cookie), "");
  assert.deepEqual((await context.cookies()).map(({ name, httpOnly }) => [name, httpOnly]), [["sid", true]]);
});
await step("calls are answered at both doors", async () => assert.equal(await call(), "connect: ada; plain: ada"));
await step("streams and events flow", async () => {
  await page.click("#open");
  for (const id of doors) await seen(`#${id} li`, /tick ([3-9]|\d\d+) for ada/);
  await picture("open");
});

const foreign = await context.newPage();
/** Sends a request from the page of others, with Ada's cookie, and returns the status. */
async function fromForeign(path, options) {
  const answered = foreign.waitForResponse((response) => response.url().startsWith(url + path.split("?")[0]));
  const [response] = await Promise.all([answered, foreign.evaluate(
    ([target, init]) => fetch(target, { mode: "no-cors", credentials: "include", ...init }).catch(() => {}), [url + path, options])]);
  return response.status();
}
const sameSite = new URL(foreignURL); // of another origin by its port alone
const crossSite = new URL(foreignURL);
crossSite.hostname = "localhost";
for (const site of [sameSite, crossSite]) await step(`a page at ${site.hostname}, of another origin, is refused at every door`, async () => {
  await foreign.goto(site.href);
  const method = "/grpc.testing.TestService/UnaryCall";
  const form = { method: "POST", headers: { "Content-Type": "text/plain" }, body: "{}" };
  if (site === sameSite) assert.equal(await fromForeign(`/plain${method}`, form), 403);
  else { // as which Chromium may keep the cookie back
    for (const path of [`/plain${method}`, "/sign-out"]) assert.match(String(await fromForeign(path, form)), /^40[13]$/);
    for (const path of ["", "/plain"]) assert.match(String(await fromForeign(`${path}${method}?connect=v1&encoding=json&message=%7B%7D`)), /^40[13]$/);
    assert.match(String(await fromForeign("/me")), /^40[13]$/);
  }
  assert.equal(await foreign.evaluate((target) => new Promise((resolve) => {
    const source = new EventSource(target, { withCredentials: true });
    source.onmessage = () => resolve("an event");
    source.onerror = () => resolve(source.readyState === EventSource.CLOSED ? "closed" : "tried again");
  }), `${url}/events`), "closed");
  assert.equal(await foreign.evaluate((target) => fetch(target, {
    method: "POST", credentials: "include", headers: { "Content-Type": "application/json" }, body: "{}",
  }).then(() => "answered", () => "refused"), `${url}${method}`), "refused");
});
await step("a link on it may be followed", async () => {
  await foreign.evaluate((target) => {
    document.body.innerHTML = "<a>go</a>";
    document.querySelector("a").href = target;
  }, `${url}/me`);
  await foreign.click("a");
  await foreign.waitForURL(`${url}/me`);
  assert.equal(await foreign.locator("body").innerText(), "ada");
  await foreign.close();
});
await step("her streams have gone on meanwhile", async () => {
  for (const id of doors) assert.doesNotMatch(await text(`#${id}`), /Ended|Closed|Reconnecting|Complete/);
});
await step("she signs out in another tab, and all three end, and are not tried again", async () => {
  const other = await context.newPage();
  await other.goto(url);
  assert.equal(await other.evaluate(() => fetch("/sign-out", { method: "POST" }).then(({ status }) => status)), 204);
  await other.close();
  await seen("#connect li", "Ended: Unauthenticated · invalid session · INVALID_SESSION");
  await seen("#plain li", "Ended:"); // cut short: it is not taken for complete
  await seen("#events li", "Closed");
  assert.match(await text("#events"), /tick \d+ for ada\s+Reconnecting\s+Closed$/); // once, as browsers do
  assert.doesNotMatch(await text("#plain"), /Complete/);
  await page.bringToFront();
  await picture("ended");
});
await step("the cookie of before is worth nothing", async () =>
  assert.equal(await call(), "connect: Unauthenticated · invalid session · INVALID_SESSION; plain: Unauthenticated · HTTP 401"));
await step("she signs in again, and all flows", async () => {
  await signIn();
  assert.equal(await call(), "connect: ada; plain: ada");
  await page.click("#open");
  for (const id of doors) await seen(`#${id} li`, /tick ([3-9]|\d\d+) for ada/);
});
await browser.close();
assert.deepEqual(problems, []);
