import { randomUUID } from "node:crypto";
import { exists, missing } from "../../errors.ts";
import type { AccessStore } from "../store.ts";
import type { AuditEntry, Grant, GrantKind, Role, Scope, Token, User } from "../types.ts";
import { addEntry } from "./audited.ts";
import type { Connection, Database, SqlValue } from "./database.ts";

interface UserRow {
  name: string;
  role: Role;
  disabled: number;
  subject: string | null;
  created_at: number;
}

interface TokenRow {
  id: string;
  user_name: string;
  label: string;
  scope: Scope;
  session: number;
  created_at: number;
  expires_at: number | null;
  last_used_at: number | null;
}

interface GrantRow {
  user_name: string;
  kind: GrantKind;
  target: string;
  role: Role;
}

const toUser = ({ created_at, disabled, ...row }: UserRow): User => ({
  ...row,
  disabled: disabled === 1,
  createdAt: created_at,
});

const toToken = (row: TokenRow): Token => ({
  id: row.id,
  user: row.user_name,
  label: row.label,
  scope: row.scope,
  session: row.session === 1,
  createdAt: row.created_at,
  expiresAt: row.expires_at,
  lastUsedAt: row.last_used_at,
});

const toGrant = ({ user_name, ...row }: GrantRow): Grant => ({ user: user_name, ...row });

/** Conditions joined with AND, and their values; undefined ones are omitted. */
function where(conditions: readonly (readonly [string, SqlValue | undefined])[]): { text: string; values: SqlValue[] } {
  const given = conditions.flatMap(([text, value]) => (value === undefined ? [] : [{ text, value }]));
  return { text: ["1 = 1", ...given.map(({ text }) => text)].join(" AND "), values: given.map(({ value }) => value) };
}

async function findUser(db: Connection, name: string): Promise<User> {
  const row = await db.get<UserRow>("SELECT * FROM users WHERE name = ?", name);
  if (!row) throw missing(`There is no user ${name}.`);
  return toUser(row);
}

export function accessStore(db: Database): AccessStore {
  return {
    async users() {
      return (await db.all<UserRow>("SELECT * FROM users ORDER BY name")).map(toUser);
    },

    user: (name) => findUser(db, name),

    async userBySubject(subject) {
      const row = await db.get<UserRow>("SELECT * FROM users WHERE subject = ?", subject);
      return row && toUser(row);
    },

    createUser: ({ name, role, subject }) =>
      db.transaction(async (tx) => {
        if (await tx.get("SELECT 1 FROM users WHERE name = ?", name)) throw exists(`There is a user ${name} already.`);
        await tx.run(
          "INSERT INTO users (name, role, subject, created_at) VALUES (?, ?, ?, ?)",
          name,
          role,
          subject ?? null,
          Date.now(),
        );
        return findUser(tx, name);
      }),

    updateUser: (name, { role, disabled, subject }) =>
      db.transaction(async (tx) => {
        await findUser(tx, name);
        await tx.run(
          "UPDATE users SET role = COALESCE(?, role), disabled = COALESCE(?, disabled), subject = COALESCE(?, subject) WHERE name = ?",
          role ?? null,
          disabled === undefined ? null : Number(disabled),
          subject ?? null,
          name,
        );
        return findUser(tx, name);
      }),

    async deleteUser(name) {
      if ((await db.run("DELETE FROM users WHERE name = ?", name)) === 0) throw missing(`There is no user ${name}.`);
    },

    createToken: ({ user, label, scope, session, hash, expiresAt }) =>
      db.transaction(async (tx) => {
        await findUser(tx, user);
        // Sessions are created automatically, so expired ones are deleted automatically.
        await tx.run("DELETE FROM tokens WHERE session = 1 AND expires_at < ?", Date.now());
        const id = randomUUID();
        await tx.run(
          "INSERT INTO tokens (id, user_name, label, scope, session, hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
          id,
          user,
          label,
          scope,
          Number(session),
          hash,
          Date.now(),
          expiresAt,
        );
        const row = await tx.get<TokenRow>("SELECT * FROM tokens WHERE id = ?", id);
        if (!row) throw new Error("the token was not stored");
        return toToken(row);
      }),

    async tokens(user) {
      const { text, values } = where([["user_name = ?", user]]);
      return (await db.all<TokenRow>(`SELECT * FROM tokens WHERE ${text} ORDER BY created_at`, ...values)).map(toToken);
    },

    async findToken(hash) {
      const token = await db.get<TokenRow>("SELECT * FROM tokens WHERE hash = ?", hash);
      if (!token) return undefined;
      const user = await findUser(db, token.user_name);
      const grants = await db.all<GrantRow>("SELECT * FROM grants WHERE user_name = ?", user.name);
      return { token: toToken(token), user, grants: grants.map(toGrant) };
    },

    async touchToken(id) {
      await db.run("UPDATE tokens SET last_used_at = ? WHERE id = ?", Date.now(), id);
    },

    async deleteToken(id, user) {
      const { text, values } = where([
        ["id = ?", id],
        ["user_name = ?", user],
      ]);
      if ((await db.run(`DELETE FROM tokens WHERE ${text}`, ...values)) === 0)
        throw missing(`There is no token ${id}.`);
    },

    async grants({ user, kind, target } = {}) {
      const { text, values } = where([
        ["user_name = ?", user],
        ["kind = ?", kind],
        ["target = ?", target],
      ]);
      const rows = await db.all<GrantRow>(
        `SELECT * FROM grants WHERE ${text} ORDER BY user_name, kind, target`,
        ...values,
      );
      return rows.map(toGrant);
    },

    setGrant: ({ user, kind, target, role }) =>
      db.transaction(async (tx) => {
        await findUser(tx, user);
        await tx.run(
          "INSERT INTO grants VALUES (?, ?, ?, ?) ON CONFLICT (user_name, kind, target) DO UPDATE SET role = excluded.role",
          user,
          kind,
          target,
          role,
        );
      }),

    async deleteGrant({ user, kind, target }) {
      const gone = await db.run(
        "DELETE FROM grants WHERE user_name = ? AND kind = ? AND target = ?",
        user,
        kind,
        target,
      );
      if (gone === 0) throw missing(`${user} has no role of their own for the ${kind} ${target}.`);
    },

    record: (entry) => addEntry(db, entry),

    audit({ who, target, before, limit }) {
      const like = target === undefined ? undefined : db.dialect.like("target", true);
      const { text, values } = where([
        ["who = ?", who],
        [like?.text ?? "", like?.pattern(`%${target}%`)],
        ["id < ?", before],
      ]);
      return db.all<AuditEntry>(`SELECT * FROM audit_log WHERE ${text} ORDER BY id DESC LIMIT ?`, ...values, limit);
    },
  };
}
