import { Badge, Button, Group, Loader, Stack, Table, Text, Textarea } from "@mantine/core";
import { useMutation, useQueries, useQuery, useQueryClient } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useState } from "react";
import { useRefusal } from "../access.ts";
import { api, type ModelVersion, type RegisteredModel } from "../api.ts";
import { formatNumber } from "../format.ts";
import { Empty, Failure, PageLink, Section, StageBadge, When } from "../parts/bits.tsx";
import shell from "../shell.module.css";
import { Gates } from "./gates.tsx";
import classes from "./models.module.css";
import { StageHistory } from "./stages.tsx";

/** Maximum number of source runs fetched for the table's metrics; older versions show none. */
const MAX_RUNS = 50;
const FIGURES = ["test/loss", "test/perplexity", "test/rougeL", "test/token_accuracy"];

function Description({ model }: { model: RegisteredModel }) {
  const client = useQueryClient();
  const [text, setText] = useState<string>();
  const refusal = useRefusal("PATCH /api/2.0/mlflow/registered-models/update", { model: model.name });
  const save = useMutation({
    mutationFn: () => api.describeModel(model.name, text ?? ""),
    onSuccess: () => {
      setText(undefined);
      void client.invalidateQueries({ queryKey: ["model", model.name] });
    },
  });
  if (text === undefined) {
    return (
      <Group gap="xs" mb="sm" align="baseline">
        <Text fz="sm" c={model.description ? undefined : "dimmed"} maw={800} style={{ overflowWrap: "anywhere" }}>
          {model.description || "No description yet."}
        </Text>
        {refusal === undefined && (
          <Button variant="subtle" size="compact-xs" onClick={() => setText(model.description ?? "")}>
            {model.description ? "Edit" : "Describe"}
          </Button>
        )}
      </Group>
    );
  }
  return (
    <Stack gap="xs" mb="sm" maw={800}>
      <Textarea
        aria-label="Description"
        autosize
        minRows={2}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      {save.error && <Failure error={save.error} />}
      <Group gap="xs">
        <Button loading={save.isPending} onClick={() => save.mutate()}>
          Save
        </Button>
        <Button variant="default" onClick={() => setText(undefined)}>
          Cancel
        </Button>
      </Group>
    </Stack>
  );
}

function Versions({ versions }: { versions: ModelVersion[] }) {
  const withRuns = versions.filter((version) => version.run_id).slice(0, MAX_RUNS);
  const runs = useQueries({
    queries: withRuns.map(({ run_id = "" }) => ({
      queryKey: ["run", run_id],
      queryFn: () => api.run(run_id),
      retry: false,
    })),
  });
  const runOf = new Map(runs.flatMap(({ data }) => (data ? [[data.info.run_id, data] as const] : [])));
  const figures = FIGURES.filter((key) =>
    [...runOf.values()].some((run) => run.data.metrics?.some((metric) => metric.key === key)),
  );
  return (
    <Section title="Versions" flush>
      {versions.length === 0 ? (
        <Empty title="No versions yet">Register the model of a run to make the first one.</Empty>
      ) : (
        <Table highlightOnHover className={classes.versions}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Version</Table.Th>
              <Table.Th>Stage</Table.Th>
              <Table.Th>Source run</Table.Th>
              {figures.map((key) => (
                <Table.Th key={key} ta="right">
                  {key}
                </Table.Th>
              ))}
              <Table.Th>Registered</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {versions.map((version) => {
              const run = runOf.get(version.run_id ?? "");
              return (
                <Table.Tr key={version.version}>
                  <Table.Td>
                    <Group gap={6} wrap="nowrap">
                      <PageLink
                        to="/models/$name/versions/$version"
                        params={{ name: version.name, version: version.version }}
                        fz="sm"
                        fw={550}
                        style={{ whiteSpace: "nowrap" }}
                      >
                        Version {version.version}
                      </PageLink>
                      {version.aliases?.map((alias) => (
                        <Badge key={alias} color="blue" miw="max-content" title={alias}>
                          @{alias.length > 24 ? `${alias.slice(0, 23)}…` : alias}
                        </Badge>
                      ))}
                    </Group>
                  </Table.Td>
                  <Table.Td>
                    <StageBadge stage={version.current_stage} />
                  </Table.Td>
                  <Table.Td className={classes.sourceRun}>
                    {version.run_id && (
                      <PageLink to="/runs/$runId" params={{ runId: version.run_id }} fz="sm">
                        {run?.info.run_name ?? version.run_id.slice(0, 8)}
                      </PageLink>
                    )}
                  </Table.Td>
                  {figures.map((key) => (
                    <Table.Td key={key} className={classes.figure}>
                      {formatNumber(run?.data.metrics?.find((metric) => metric.key === key)?.value)}
                    </Table.Td>
                  ))}
                  <Table.Td style={{ whiteSpace: "nowrap" }}>
                    <When time={version.creation_timestamp} />
                  </Table.Td>
                </Table.Tr>
              );
            })}
          </Table.Tbody>
        </Table>
      )}
    </Section>
  );
}

/** Registered model page: versions, gates and stage history. */
export function ModelPage() {
  const { name } = useParams({ from: "/models/$name" });
  const model = useQuery({ queryKey: ["model", name], queryFn: () => api.model(name) });
  const versions = useQuery({ queryKey: ["model", name, "versions"], queryFn: () => api.versions(name) });
  const newest = versions.data?.find((version) => version.run_id)?.run_id;
  const run = useQuery({
    queryKey: ["run", newest],
    queryFn: () => api.run(newest ?? ""),
    enabled: newest !== undefined,
  });
  const error = model.error ?? versions.error;
  if (error) {
    return (
      <div className={shell.page}>
        <Failure error={error} />
        <PageLink to="/models">All models</PageLink>
      </div>
    );
  }
  if (!model.data || !versions.data) return <Loader m="lg" size="sm" />;
  return (
    <div className={shell.page}>
      <div className={shell.head}>
        <div className={shell.crumbs}>
          <PageLink to="/models" fz="xs">
            Models
          </PageLink>
        </div>
        <h1 className={shell.title} title={name}>
          {name}
        </h1>
      </div>
      <Description model={model.data} />
      <div className={classes.columns}>
        <Stack gap="sm" miw={0}>
          <Versions versions={versions.data} />
          <Gates key={name} name={name} metrics={(run.data?.data.metrics ?? []).map(({ key }) => key)} />
        </Stack>
        <StageHistory name={name} />
      </div>
    </div>
  );
}
