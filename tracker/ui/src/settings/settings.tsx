import { Loader, Tabs, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { Empty, Failure } from "../parts/bits.tsx";
import shell from "../shell.module.css";
import { Activity } from "./activity.tsx";
import { settings } from "./api.ts";
import { Tokens } from "./tokens.tsx";
import { Users } from "./users.tsx";
import { Webhooks } from "./webhooks.tsx";

/** Who may use the tracker and how; what it tells others; what was changed. */
export function SettingsPage() {
  const me = useQuery({ queryKey: ["settings", "me"], queryFn: settings.me });
  const { tab } = useSearch({ from: "/settings" });
  const navigate = useNavigate();
  if (me.error) {
    return (
      <div className={shell.page}>
        <Failure error={me.error} />
      </div>
    );
  }
  if (!me.data) return <Loader m="lg" size="sm" />;
  const { name, role, owner, scope } = me.data;
  const admin = role === "admin" && scope === "admin";
  const shown = admin ? (tab ?? "users") : "tokens";
  return (
    <div className={shell.page}>
      <div className={shell.head}>
        <h1 className={shell.title}>Settings</h1>
        <Text fz="xs" c="dimmed">
          {owner ? `${name} (owner)` : `${name}, ${role}`}
        </Text>
      </div>
      <Tabs
        keepMounted={false}
        value={shown}
        onChange={(next) => void navigate({ to: "/settings", search: next ? { tab: next } : {} })}
      >
        <Tabs.List mb="sm">
          {admin && <Tabs.Tab value="users">Users</Tabs.Tab>}
          <Tabs.Tab value="tokens">Your tokens</Tabs.Tab>
          {admin && <Tabs.Tab value="webhooks">Webhooks</Tabs.Tab>}
          {admin && <Tabs.Tab value="activity">Activity</Tabs.Tab>}
        </Tabs.List>
        {admin && (
          <Tabs.Panel value="users">
            <Users />
          </Tabs.Panel>
        )}
        <Tabs.Panel value="tokens">
          {owner ? (
            <Empty title="You open this tracker with the token of its data folder">
              It is printed when the tracker starts, and has full access. For a program, a machine or another person,
              add a user and give them a token of their own.
            </Empty>
          ) : scope !== "admin" ? (
            <Empty title="This token cannot manage accounts">
              It is limited to: {scope}. Create tokens with one that has your full access, or ask an admin.
            </Empty>
          ) : (
            <Tokens user={name} />
          )}
        </Tabs.Panel>
        {admin && (
          <Tabs.Panel value="webhooks">
            <Webhooks />
          </Tabs.Panel>
        )}
        {admin && (
          <Tabs.Panel value="activity">
            <Activity />
          </Tabs.Panel>
        )}
      </Tabs>
    </div>
  );
}
