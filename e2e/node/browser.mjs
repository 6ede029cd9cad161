// Drives the page of examples/betterauth as a user does, in Chromium, and takes pictures.
//
//	node browser.mjs <url of the page> <path of chromium> <directory for pictures>
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [url, executablePath, pictures] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
const context = await browser.newContext({ viewport: { width: 900, height: 760 }, colorScheme: "light" });
context.setDefaultTimeout(15_000);
const page = await context.newPage();
const problems = [];
page.on("pageerror", (error) => problems.push(String(error)));
page.on("console", (message) => {
  // A call that is refused is a failed request to the browser.
  if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) problems.push(message.text());
});

/** One thing that a user does and sees. */
async function step(name, does) {
  try {
    await does();
  } catch (error) {
    await page.screenshot({ path: join(pictures, "failed.png"), fullPage: true });
    console.error(`${name}: ${error.message}`);
    await browser.close();
    process.exit(1);
  }
  console.log(name);
}

const picture = (name) => page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
const text = (selector) => page.locator(selector).innerText();
const seen = (selector, what) => page.locator(selector).filter({ hasText: what }).first().waitFor();

/** Calls WhoAmI by a button and returns the badge and the fields of the answer. */
async function call(button) {
  await page.evaluate(() => { document.getElementById("answer").hidden = true; });
  await page.click(button);
  await page.locator("#answer").waitFor();
  return { badge: await text("#badge"), fields: await text("#fields") };
}

async function fill(fields) {
  for (const [id, value] of Object.entries(fields)) await page.fill(`#${id}`, value);
  await page.click("#submit");
  await page.locator("#signed-in").waitFor();
}

const account = { email: "ada@example.com", password: "correct horse" };

await step("the page opens, and nobody is signed in", async () => {
  await page.goto(url);
  await page.locator("#form").waitFor();
  await picture("1-nobody");
});
await step("without a session a call is refused", async () => {
  const { badge, fields } = await call("#call-connect");
  assert.equal(badge, "Refused");
  assert.match(fields, /unauthenticated[^]*missing credentials[^]*MISSING_CREDENTIALS/);
});
await step("a stream is refused, and not ended", async () => {
  await page.click("#watch");
  await seen("#status", "Refused");
  assert.match(await text("#ticks"), /unauthenticated · missing credentials · MISSING_CREDENTIALS/);
  assert.equal(await text("#watch"), "Open a stream");
});
await step("Ada signs up", async () => {
  await fill({ name: "Ada Lovelace", ...account });
  assert.equal(await text("#who-name"), "Ada Lovelace");
  assert.equal(await page.locator("#ticks").isHidden(), true); // nothing is left of what was before her
  assert.equal(await text("#status"), "Not open");
});
await step("the session's cookie is not for scripts", async () => {
  assert.equal(await page.evaluate(() => document.cookie), "");
  const [cookie] = (await context.cookies()).filter(({ name }) => name === "better-auth.session_token");
  assert.equal(cookie.httpOnly, true);
});
await step("the first call, by Connect, asks better-auth", async () => {
  const { badge, fields } = await call("#call-connect");
  assert.equal(badge, "better-auth was asked");
  assert.match(fields, /Ada Lovelace[^]*ada@example\.com[^]*1 in all/);
});
await step("the next one, by REST, is answered from memory", async () => {
  const { badge, fields } = await call("#call-rest");
  assert.equal(badge, "Answered from memory");
  assert.match(fields, /1 in all/);
});
await step("gRPC-Web is answered from memory, too", async () => {
  const trailer = await page.evaluate(async () => {
    const response = await fetch("/account.v1.AccountService/WhoAmI", {
      method: "POST",
      headers: { "Content-Type": "application/grpc-web+proto", "X-Grpc-Web": "1" },
      body: new Uint8Array(5), // an empty message
    });
    return new TextDecoder().decode(await response.arrayBuffer());
  });
  assert.match(trailer, /Ada Lovelace[^]*grpc-status: *0/i);
});
await step("a stream ticks for her", async () => {
  await page.click("#watch");
  await seen("#ticks li", "tick 3 for Ada Lovelace");
  assert.equal(await text("#status"), "Open");
  await picture("2-signed-in");
});
await step("a page of another origin cannot call in her name", async () => {
  const server = createServer((_, response) => response.setHeader("Content-Type", "text/html").end("<title>foreign</title>"));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const foreign = await context.newPage();
  await foreign.goto(`http://127.0.0.1:${server.address().port}/`);
  const answered = foreign.waitForResponse((response) => response.url().endsWith("/v1/whoami"));
  // grpc-gateway takes a form for a GET, as any page can send one anywhere.
  await foreign.evaluate((target) => fetch(target, {
    method: "POST", mode: "no-cors", credentials: "include", body: new URLSearchParams(),
  }), `${url}/v1/whoami`);
  assert.equal((await answered).status(), 403); // without the cookie it would be 401
  await foreign.close();
  server.close();
});
await step("offline, a sign-out says that it was none", async () => {
  await context.setOffline(true);
  await page.click("#sign-out");
  await seen("#sign-out-problem", "You are still signed in. The server cannot be reached.");
  assert.equal(await text("#who-name"), "Ada Lovelace");
  assert.equal(await page.evaluate(() => document.activeElement.id), "sign-out");
  await context.setOffline(false);
  if (await text("#watch") === "Open a stream") { // being offline cut it
    await page.click("#watch");
    await seen("#ticks li", "tick 1 for Ada Lovelace");
  }
});
const second = await context.newPage();
await step("a second tab knows her", async () => {
  await second.goto(url);
  await second.locator("#who-name").filter({ hasText: "Ada Lovelace" }).waitFor();
});
const old = await context.cookies();
await step("she signs out, and the server ends the open stream", async () => {
  await page.click("#sign-out");
  await page.locator("#signed-out").waitFor();
  await seen("#status", "Ended by the server");
  assert.match(await text("#ticks"), /unauthenticated · invalid session · INVALID_SESSION/);
  await picture("3-signed-out");
});
await step("the second tab shows nobody any more", async () => {
  await second.locator("#signed-out").waitFor();
  assert.equal(await second.locator("#signed-in").isHidden(), true);
});
await step("the cookie of before is worth nothing", async () => {
  await context.addCookies(old);
  const { badge, fields } = await call("#call-connect");
  assert.equal(badge, "Refused");
  assert.match(fields, /INVALID_SESSION/);
  await context.clearCookies();
});
await step("a failed sign-in leaves the focus where it was", async () => {
  const focused = () => page.evaluate(() => document.activeElement.id);
  await page.click("#mode-in");
  await page.fill("#email", account.email);
  await page.fill("#password", "another password");
  await page.press("#password", "Enter");
  await seen("#problem", "Invalid email or password");
  assert.equal(await focused(), "password");
  await page.click("#submit");
  await page.waitForFunction(() => document.getElementById("problem").hidden === false);
  assert.equal(await focused(), "submit");
});
await step("where colours are forced, the pressed segment is told apart", async () => {
  await page.emulateMedia({ forcedColors: "active" });
  const look = async (id) => { // a corner of it, without its text
    const { x, y } = await page.locator(id).boundingBox();
    return (await page.screenshot({ clip: { x: x + 6, y: y + 6, width: 4, height: 4 } })).toString("base64");
  };
  assert.notEqual(await look("#mode-in"), await look("#mode-up"));
  await page.emulateMedia({ forcedColors: null });
});
await step("she signs in again", async () => {
  await fill(account);
  await second.locator("#who-name").filter({ hasText: "Ada Lovelace" }).waitFor(); // in the other tab, too
  await second.close();
  assert.equal(await page.locator("#ticks").isHidden(), true);
  assert.equal((await call("#call-rest")).badge, "better-auth was asked");
});
await step("the page knows her when it is opened anew", async () => {
  await page.reload();
  await seen("#who-name", "Ada Lovelace");
});
await step("it fits a telephone, in the dark", async () => {
  await page.emulateMedia({ colorScheme: "dark" });
  await page.setViewportSize({ width: 390, height: 844 });
  const { scroll, client } = await page.evaluate(() => {
    const { scrollWidth: scroll, clientWidth: client } = document.documentElement;
    return { scroll, client };
  });
  assert.ok(scroll <= client, `it is ${scroll} wide, of ${client}`);
  await call("#call-connect");
  await picture("4-telephone");
});
await browser.close();
assert.deepEqual(problems, []);
