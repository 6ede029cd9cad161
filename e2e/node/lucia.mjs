// Sessions of npm's lucia in a database: PostgreSQL, or SQLite by libsql. Each line of the
// standard input is a question, each line of the output its answer.
import { createInterface } from "node:readline";
import { Lucia, TimeSpan } from "lucia";

const [kind, database] = process.argv.slice(2);
const names = { user: "auth_user", session: "user_session" };

async function open() {
  if (kind === "postgresql") {
    const { default: pg } = await import("pg");
    const { NodePostgresAdapter } = await import("@lucia-auth/adapter-postgresql");
    const pool = new pg.Pool({ connectionString: database });
    return { adapter: new NodePostgresAdapter(pool, names), close: () => pool.end() };
  }
  const { createClient } = await import("@libsql/client");
  const { LibSQLAdapter } = await import("@lucia-auth/adapter-sqlite");
  const client = createClient({ url: `file:${database}` });
  return { adapter: new LibSQLAdapter(client, names), close: () => client.close() };
}

const { adapter, close } = await open();
const lucia = new Lucia(adapter, { sessionExpiresIn: new TimeSpan(30, "d") });

const answers = {
  async create({ user }) {
    const session = await lucia.createSession(user, {});
    return { id: session.id, cookie: lucia.createSessionCookie(session.id).serialize(), expiresAt: session.expiresAt };
  },
  async validate({ id }) {
    const { user, session } = await lucia.validateSession(id);
    return { user: user?.id ?? "", fresh: session?.fresh ?? false, expiresAt: session?.expiresAt };
  },
  async invalidate({ id }) {
    await lucia.invalidateSession(id);
    return {};
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  console.log(JSON.stringify(await answers[question.op](question)));
}
await close();
