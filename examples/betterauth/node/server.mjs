// A better-auth server: the owner of the sessions in this example. It keeps all in
// memory and ends when its standard input does, so it never outlives its parent.
import { createServer } from "node:http";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { toNodeHandler } from "better-auth/node";
import { admin } from "better-auth/plugins";

const origins = process.env.ORIGINS.split(","); // where browsers see this server
const tables = { user: [], session: [], account: [], verification: [] };

const auth = betterAuth({
  baseURL: origins[0],
  secret: process.env.BETTER_AUTH_SECRET,
  trustedOrigins: origins,
  database: memoryAdapter(tables),
  emailAndPassword: { enabled: true },
  plugins: [admin()],
  rateLimit: { enabled: false }, // a demonstration on loopback; leave it on in production
  telemetry: { enabled: false },
  logger: { level: "error" },
});

const server = createServer(toNodeHandler(auth));
server.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ port: server.address().port }));
});

process.on("SIGINT", () => {}); // Ctrl-C reaches the whole group; the parent decides
process.stdin.resume();
process.stdin.on("close", () => process.exit(0));
