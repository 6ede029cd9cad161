// A better-auth server that tests can look into. It keeps all in memory and ends when
// its standard input does. OPTIONS are options of betterAuth, as JSON; withoutAdmin leaves
// the admin plugin out.
import { createServer } from "node:http";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { toNodeHandler } from "better-auth/node";
import { admin, bearer } from "better-auth/plugins";

const tables = { user: [], session: [], account: [], verification: [] };

const { withoutAdmin, ...options } = JSON.parse(process.env.OPTIONS);
let losing = false; // what is to be updated is gone by then

const auth = betterAuth({
  baseURL: "http://127.0.0.1",
  secret: process.env.BETTER_AUTH_SECRET,
  database: memoryAdapter(tables),
  emailAndPassword: { enabled: true },
  plugins: withoutAdmin ? [bearer()] : [admin(), bearer()],
  databaseHooks: { session: { update: { before: async () => !losing } } },
  rateLimit: { enabled: false },
  advanced: { disableCSRFCheck: true, disableOriginCheck: true },
  telemetry: { enabled: false },
  logger: { disabled: true },
  ...options,
});

const asked = []; // the header of each get-session

const controls = {
  "/control/session": ({ token, set }) => Object.assign(tables.session.find((s) => s.token === token), dates(set)),
  "/control/user": ({ id, set }) => Object.assign(tables.user.find((u) => u.id === id), set),
  "/control/lose": ({ on }) => (losing = on),
  "/control/fail": ({ on }) => fail(on),
  "/control/asked": () => asked.splice(0),
};

const dates = (fields) => Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, new Date(value)]));

/** A database that is down, or up again. */
function fail(on) {
  const property = { configurable: true, enumerable: true };
  if (on) {
    sessions = tables.session;
    Object.defineProperty(tables, "session", { ...property, get() { throw new Error("the database is down"); } });
  } else {
    Object.defineProperty(tables, "session", { ...property, writable: true, value: sessions });
  }
}
let sessions;

/** What an endpoint for nginx's auth_request is: a status, and who it is. */
async function verify(request, response) {
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers)) headers.set(name, value);
  const found = await auth.api.getSession({ headers, query: { disableCookieCache: true } });
  response.writeHead(found ? 200 : 401, found ? { "Remote-User": found.user.id } : {}).end();
}

const handle = toNodeHandler(auth);
const server = createServer(async (request, response) => {
  const control = controls[request.url];
  try {
    if (control) {
      let body = "";
      for await (const chunk of request) body += chunk;
      response.end(JSON.stringify(control(JSON.parse(body)) ?? null));
    } else if (request.url === "/verify") {
      await verify(request, response);
    } else {
      if (request.url.includes("get-session")) asked.push(request.headers);
      await handle(request, response);
    }
  } catch (error) {
    if (!response.headersSent) response.writeHead(500);
    response.end();
  }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));

process.stdin.resume();
process.stdin.on("close", () => process.exit(0));
