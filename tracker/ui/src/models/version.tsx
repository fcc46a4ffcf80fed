import { Badge, Button, Code, Group, Loader, Menu, Stack, Tabs, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useRefusal } from "../access.ts";
import { api, type ModelVersion } from "../api.ts";
import { formatDate } from "../format.ts";
import { Copyable, Empty, Facts, Failure, PageLink, Section, StageBadge, When } from "../parts/bits.tsx";
import shell from "../shell.module.css";
import { ModelCard } from "./card.tsx";
import { GateResults } from "./gates.tsx";
import classes from "./models.module.css";
import { StageDialog, StageHistory } from "./stages.tsx";

const STAGES = ["Staging", "Archived", "None"];

function Aliases({ version }: { version: ModelVersion }) {
  const client = useQueryClient();
  const refusal = useRefusal("POST /api/2.0/mlflow/registered-models/alias", { model: version.name });
  const [alias, setAlias] = useState("");
  const change = useMutation({
    mutationFn: (work: () => Promise<unknown>) => work(),
    onSuccess: () => {
      setAlias("");
      void client.invalidateQueries({ queryKey: ["model", version.name] });
    },
  });
  const add = (): void => {
    if (alias.trim() !== "") change.mutate(() => api.setAlias(version.name, alias.trim(), version.version));
  };
  return (
    <Section title="Aliases">
      <Text fz="sm" c="dimmed" mb="xs">
        A name for this version that others load it by: <Code>models:/{version.name}@champion</Code>. Setting it here
        takes it from the version that has it now. The aliases champion and production pass the gates for Production.
      </Text>
      <Group gap={6} mb="xs">
        {version.aliases?.map((name) => (
          <Badge
            key={name}
            color="blue"
            rightSection={
              refusal === undefined && (
                <button
                  type="button"
                  className={classes.remove}
                  aria-label={`Remove alias ${name}`}
                  onClick={() => change.mutate(() => api.deleteAlias(version.name, name))}
                >
                  ×
                </button>
              )
            }
          >
            @{name}
          </Badge>
        ))}
      </Group>
      <Group gap={6}>
        <TextInput
          aria-label="New alias"
          placeholder="champion"
          disabled={refusal !== undefined}
          title={refusal}
          value={alias}
          onChange={(event) => setAlias(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter") add();
          }}
        />
        <Button
          variant="default"
          disabled={refusal !== undefined || alias.trim() === ""}
          title={refusal}
          loading={change.isPending}
          onClick={add}
        >
          Add alias
        </Button>
      </Group>
      {change.error && <Failure error={change.error} />}
    </Section>
  );
}

function Overview({ version }: { version: ModelVersion }) {
  const verdict = useQuery({
    queryKey: ["model", version.name, "verdict", version.version],
    queryFn: () => api.verdict(version.name, version.version),
  });
  return (
    <div className={classes.columns}>
      <Stack gap="sm" miw={0}>
        <Section title="Version">
          <Facts
            rows={[
              [
                "Registered",
                `${formatDate(version.creation_timestamp)}${version.user_id ? ` by ${version.user_id}` : ""}`,
              ],
              ["Files", <Copyable key="source" text={version.source} />],
              version.run_id
                ? [
                    "Source run",
                    <PageLink key="run" to="/runs/$runId" params={{ runId: version.run_id }} fz="sm">
                      {version.run_id}
                    </PageLink>,
                  ]
                : null,
              version.description ? ["Description", version.description] : null,
              ...(version.tags ?? []).map(({ key, value }) => [key, value] as const),
            ]}
          />
        </Section>
        <Aliases version={version} />
        <Section
          title="Gates for Production"
          aside={
            <PageLink to="/models/$name" params={{ name: version.name }} fz="xs">
              The model's gates
            </PageLink>
          }
        >
          {verdict.error && <Failure error={verdict.error} />}
          {verdict.data?.gates.length === 0 && (
            <Empty title="No gates">Any version of this model may be promoted.</Empty>
          )}
          <GateResults results={verdict.data?.gates ?? []} />
        </Section>
      </Stack>
      <StageHistory name={version.name} version={Number(version.version)} />
    </div>
  );
}

/** Model version page: card, gate results and stage transitions. */
export function VersionPage() {
  const { name, version: number } = useParams({ from: "/models/$name/versions/$version" });
  const search = useSearch({ from: "/models/$name/versions/$version" });
  const navigate = useNavigate();
  const [target, setTarget] = useState<string>();
  const refusal = useRefusal("POST /api/anneal/model-versions/promote", { model: name });
  const version = useQuery({ queryKey: ["model", name, "version", number], queryFn: () => api.version(name, number) });
  if (version.error) {
    return (
      <div className={shell.page}>
        <Failure error={version.error} />
        <PageLink to="/models">All models</PageLink>
      </div>
    );
  }
  if (!version.data) return <Loader m="lg" size="sm" />;
  const { current_stage: stage, creation_timestamp: created } = version.data;
  return (
    <div className={shell.page}>
      <div className={shell.head}>
        <div className={shell.crumbs}>
          <PageLink to="/models" fz="xs">
            Models
          </PageLink>{" "}
          /{" "}
          <PageLink to="/models/$name" params={{ name }} fz="xs">
            {name}
          </PageLink>
        </div>
        <h1 className={shell.title} title={name}>
          {name}, version {number}
        </h1>
        <StageBadge stage={stage} />
        {version.data.aliases?.map((alias) => (
          <Badge key={alias} color="blue">
            @{alias}
          </Badge>
        ))}
        <Text fz="sm" c="dimmed" component="div">
          <When time={created} />
        </Text>
        <div className={shell.actions}>
          <Menu position="bottom-end">
            <Menu.Target>
              <Button variant="default" disabled={refusal !== undefined} title={refusal}>
                Other stage
              </Button>
            </Menu.Target>
            <Menu.Dropdown>
              {STAGES.filter((other) => other !== stage).map((other) => (
                <Menu.Item key={other} onClick={() => setTarget(other)}>
                  {other === "None" ? "No stage" : other}
                </Menu.Item>
              ))}
            </Menu.Dropdown>
          </Menu>
          <Button
            disabled={stage === "Production" || refusal !== undefined}
            title={refusal}
            onClick={() => setTarget("Production")}
          >
            {stage === "Production" ? "In Production" : "Promote to Production"}
          </Button>
        </div>
      </div>
      <Tabs
        value={search.tab ?? "card"}
        onChange={(tab) => void navigate({ to: ".", search: tab && tab !== "card" ? { tab } : {}, replace: true })}
        keepMounted={false}
      >
        <Tabs.List mb="sm">
          <Tabs.Tab value="card">Model card</Tabs.Tab>
          <Tabs.Tab value="overview">Overview</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="card">
          <ModelCard name={name} version={number} />
        </Tabs.Panel>
        <Tabs.Panel value="overview">
          <Overview version={version.data} />
        </Tabs.Panel>
      </Tabs>
      {target !== undefined && (
        <StageDialog version={version.data} stage={target} onClose={() => setTarget(undefined)} />
      )}
    </div>
  );
}
