import { Loader, Tabs, Text } from "@mantine/core";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useMe, useRefusals } from "../access.ts";
import { Empty, Failure } from "../parts/bits.tsx";
import shell from "../shell.module.css";
import { Activity } from "./activity.tsx";
import { Tokens } from "./tokens.tsx";
import { Users } from "./users.tsx";
import { Webhooks } from "./webhooks.tsx";

/** Settings: users and access, webhooks, and the audit log. */
export function SettingsPage() {
  const me = useMe();
  const refused = useRefusals();
  const { tab } = useSearch({ from: "/settings" });
  const navigate = useNavigate();
  const error = me.error ?? refused.error;
  if (error) {
    return (
      <div className={shell.page}>
        <Failure error={error} />
      </div>
    );
  }
  if (!me.data || !refused.data) return <Loader m="lg" size="sm" />;
  const { name, role, owner } = me.data;
  const noTokens = refused.data["POST /api/anneal/tokens"];
  const pages = [
    { tab: "users", title: "Users", endpoint: "GET /api/anneal/users", page: <Users /> },
    {
      tab: "tokens",
      title: "Your tokens",
      page: owner ? (
        <Empty title="You open this tracker with the token of its data folder">
          It is printed when the tracker starts, and has full access. For a program, a machine or another person, add a
          user and give them a token of their own.
        </Empty>
      ) : noTokens === undefined ? (
        <Tokens user={name} />
      ) : (
        <Empty title="This token cannot manage accounts">{noTokens}</Empty>
      ),
    },
    { tab: "webhooks", title: "Webhooks", endpoint: "GET /api/2.0/mlflow/webhooks", page: <Webhooks /> },
    { tab: "activity", title: "Activity", endpoint: "GET /api/anneal/audit", page: <Activity /> },
  ] as const;
  const open = pages.filter((it) => !("endpoint" in it && refused.data[it.endpoint]));
  const shown = open.find((it) => it.tab === tab) ?? open[0];
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
        value={shown?.tab ?? null}
        onChange={(next) => void navigate({ to: "/settings", search: next ? { tab: next } : {} })}
      >
        <Tabs.List mb="sm">
          {open.map((it) => (
            <Tabs.Tab key={it.tab} value={it.tab}>
              {it.title}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        {open.map((it) => (
          <Tabs.Panel key={it.tab} value={it.tab}>
            {it.page}
          </Tabs.Panel>
        ))}
      </Tabs>
    </div>
  );
}
