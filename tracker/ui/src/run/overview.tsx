import { Badge, Button, Code, Group, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useRefusal } from "../access.ts";
import { api, type DatasetInput, type LoggedModel, type Run } from "../api.ts";
import { formatDate, formatDuration, formatNumber, jsonPairs } from "../format.ts";
import { Copyable, Empty, Facts, PageLink, Section, StageBadge, When } from "../parts/bits.tsx";
import { beforeAfter, lowerIsBetter, tagOf } from "./data.ts";
import { RegisterDialog } from "./register.tsx";
import classes from "./run.module.css";

/** Tags shown elsewhere on the page, or not meant for display. */
const SHOWN_ELSEWHERE = /^(mlflow\.(runName|user|source\.|log-model)|anneal\.)/;

function Change({ metric, before, after }: { metric: string; before: number | undefined; after: number | undefined }) {
  if (before === undefined || after === undefined || before === 0) return null;
  const percent = (100 * (after - before)) / Math.abs(before);
  const lower = lowerIsBetter(metric);
  const good = lower === undefined || percent === 0 ? undefined : lower === percent < 0;
  return (
    <Text span fz="sm" c={good === undefined ? "dimmed" : good ? "teal" : "red"} className={classes.figure}>
      {percent > 0 ? "+" : ""}
      {Math.abs(percent) < 1 ? percent.toFixed(2) : percent.toFixed(0)} %
    </Text>
  );
}

export function BeforeAfter({ run }: { run: Run }) {
  const rows = beforeAfter(run);
  if (rows.length === 0) return null;
  return (
    <Section title="Before and after training" flush>
      <Table>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Metric</Table.Th>
            <Table.Th ta="right">Before</Table.Th>
            <Table.Th ta="right">After</Table.Th>
            <Table.Th ta="right">Change</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {rows.map(({ metric, before, after }) => (
            <Table.Tr key={metric}>
              <Table.Td>{metric}</Table.Td>
              <Table.Td className={classes.figure}>{formatNumber(before)}</Table.Td>
              <Table.Td className={classes.figure}>
                <b>{formatNumber(after)}</b>
              </Table.Td>
              <Table.Td ta="right">
                <Change metric={metric} before={before} after={after} />
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Section>
  );
}

function LatestMetrics({ run }: { run: Run }) {
  const metrics = (run.data.metrics ?? []).filter(({ key }) => !/^(before|after)\//.test(key));
  const rank = (key: string): number =>
    key.startsWith("test/") ? 0 : key.startsWith("eval/") ? 1 : key.startsWith("system/") ? 3 : 2;
  metrics.sort((a, b) => rank(a.key) - rank(b.key) || a.key.localeCompare(b.key));
  return (
    <Section title="Metrics" flush>
      {metrics.length === 0 ? (
        <Empty title="No metrics yet">They appear as the run logs them.</Empty>
      ) : (
        <Table>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Metric</Table.Th>
              <Table.Th ta="right">Latest</Table.Th>
              <Table.Th ta="right">Step</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {metrics.map(({ key, value, step }) => (
              <Table.Tr key={key}>
                <Table.Td className={classes.name}>{key}</Table.Td>
                <Table.Td className={classes.figure} title={String(value)}>
                  {formatNumber(value)}
                </Table.Td>
                <Table.Td className={classes.figure} c="dimmed">
                  {formatNumber(step)}
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </Section>
  );
}

/** A field of a profile: a number, or parts with their sizes, as people write them. */
function profileText(value: string): string {
  const parts = value.startsWith("{") ? jsonPairs(value) : [];
  if (parts.length > 0) return parts.map(([name, size]) => `${name} ${profileText(size)}`).join(", ");
  return /^\d+$/.test(value) ? formatNumber(Number(value)) : value;
}

function Datasets({ inputs }: { inputs: DatasetInput[] }) {
  if (inputs.length === 0) return null;
  return (
    <Section title="Data sets">
      <Stack gap="sm">
        {inputs.map(({ dataset, tags }) => {
          const context = tags?.find(({ key }) => key === "mlflow.data.context")?.value;
          return (
            <div key={`${dataset.name} ${dataset.digest} ${context}`}>
              <Text fz="sm" fw={550} span>
                {dataset.name}
              </Text>{" "}
              {context && <Badge color="gray">{context}</Badge>}
              <Facts
                rows={[
                  ["Digest", <Copyable key="digest" text={dataset.digest} />],
                  ...jsonPairs(dataset.profile).map(([key, value]): [string, string] => [key, profileText(value)]),
                ]}
              />
            </div>
          );
        })}
      </Stack>
    </Section>
  );
}

function Models({ run }: { run: Run }) {
  const versions = useQuery({
    queryKey: ["models", "of-run", run.info.run_id],
    queryFn: () => api.versionsOfRun(run.info.run_id),
  });
  if (!versions.data || versions.data.length === 0) return null;
  return (
    <Section title="Registered models">
      <Stack gap={4}>
        {versions.data.map(({ name, version, current_stage }) => (
          <div key={`${name} ${version}`}>
            <PageLink to="/models/$name/versions/$version" params={{ name, version }} fz="sm">
              {name}, version {version}
            </PageLink>{" "}
            <StageBadge stage={current_stage} />
          </div>
        ))}
      </Stack>
    </Section>
  );
}

/** When the run went back to an earlier step. */
function Rewinds({ run }: { run: Run }) {
  const { run_id } = run.info;
  const rewinds = useQuery({ queryKey: ["run", run_id, "rewinds"], queryFn: () => api.rewinds(run_id) });
  if (!rewinds.data || rewinds.data.length === 0) return null;
  return (
    <Section title="Rewinds">
      <Facts
        rows={rewinds.data.map(({ id, step, time, points }) => [
          `To step ${formatNumber(step)}`,
          <span key={id}>
            <When time={time} />: {formatNumber(points)} points taken back
          </span>,
        ])}
      />
    </Section>
  );
}

const MODEL_STATUS = {
  LOGGED_MODEL_PENDING: { color: "yellow", text: "uploading" },
  LOGGED_MODEL_READY: { color: "teal", text: "ready" },
  LOGGED_MODEL_UPLOAD_FAILED: { color: "red", text: "upload failed" },
};

function LoggedModels({ run }: { run: Run }) {
  const { experiment_id, run_id } = run.info;
  const models = useQuery({
    queryKey: ["run", run_id, "logged-models"],
    queryFn: () => api.loggedModels(experiment_id, run_id),
  });
  const [chosen, setChosen] = useState<LoggedModel>();
  const refusal = useRefusal("POST /api/2.0/mlflow/model-versions/create", { experiment_id });
  if (!models.data || models.data.length === 0) return null;
  return (
    <Section title="Logged models">
      <Stack gap="sm">
        {models.data.map((model) => {
          const { info } = model;
          const why = info.status === "LOGGED_MODEL_READY" ? refusal : "Not all of its files are here.";
          return (
            <div key={info.model_id}>
              <Group gap={6} wrap="nowrap">
                <Text fz="sm" fw={550} span truncate title={info.name}>
                  {info.name}
                </Text>
                <Badge color={MODEL_STATUS[info.status].color} title={info.status_message} miw="max-content">
                  {MODEL_STATUS[info.status].text}
                </Badge>
                <Button
                  ml="auto"
                  variant="default"
                  size="compact-xs"
                  miw="max-content"
                  disabled={why !== undefined}
                  title={why}
                  onClick={() => setChosen(model)}
                >
                  Register
                </Button>
              </Group>
              <Facts
                rows={[
                  ["Source", <Copyable key="source" text={`models:/${info.model_id}`} />],
                  info.model_type === undefined ? null : ["Type", info.model_type],
                ]}
              />
            </div>
          );
        })}
      </Stack>
      {chosen && <RegisterDialog model={chosen} runId={run_id} onClose={() => setChosen(undefined)} />}
    </Section>
  );
}

/** Run overview: results, data sets and environment. */
export function Overview({ run }: { run: Run }) {
  const { info } = run;
  const tag = (key: string) => tagOf(run, key);
  const number = (key: string): string | undefined => {
    const value = tag(key);
    return value === undefined ? undefined : formatNumber(Number(value));
  };
  const commit = tag("mlflow.source.git.commit");
  const base = tag("anneal.base_run_id");
  const total = number("anneal.total_parameters");
  const trainable = number("anneal.trainable_parameters");
  const seeds = jsonPairs(tag("anneal.seeds"));
  const versions = jsonPairs(tag("anneal.versions"));
  const otherTags = (run.data.tags ?? []).filter(({ key }) => !SHOWN_ELSEWHERE.test(key));
  const [deviceName, model, threads] = ["anneal.device", "anneal.device.model", "anneal.threads"].map((key) =>
    tag(key),
  );
  const details = [model, deviceName === "cpu" && threads !== undefined ? `${threads} threads` : undefined].filter(
    Boolean,
  );
  const device = details.length > 0 ? `${deviceName} (${details.join(", ")})` : deviceName;
  const optional = (name: string, value: string | undefined) =>
    value === undefined || value === "" ? null : ([name, value] as const);
  return (
    <div className={classes.columns}>
      <Stack gap="sm" miw={0}>
        <BeforeAfter run={run} />
        <LatestMetrics run={run} />
      </Stack>
      <Stack gap="sm" miw={0}>
        <Section title="Run">
          <Facts
            rows={[
              ["Run id", <Copyable key="id" text={info.run_id} />],
              ["Started", formatDate(info.start_time)],
              info.end_time === undefined ? null : ["Duration", formatDuration(info.end_time - info.start_time)],
              ["By", info.user_id],
              optional("Notebook", tag("mlflow.source.name")),
              commit === undefined
                ? null
                : [
                    "Git commit",
                    <span key="commit">
                      <Copyable text={commit} shown={commit.slice(0, 10)} />{" "}
                      {tag("anneal.git.dirty") === "true" && <Badge color="yellow">uncommitted changes</Badge>}
                    </span>,
                  ],
              base === undefined
                ? null
                : [
                    "Trained from",
                    <PageLink key="base" to="/runs/$runId" params={{ runId: base }} fz="sm">
                      {base.slice(0, 12)}
                    </PageLink>,
                  ],
              total === undefined
                ? optional("Trainable parameters", trainable)
                : ["Parameters", trainable === undefined ? total : `${total}, trained ${trainable}`],
              optional("Tokens", number("anneal.total_tokens")),
            ]}
          />
        </Section>
        <Rewinds run={run} />
        <LoggedModels run={run} />
        <Models run={run} />
        <Datasets inputs={run.inputs?.dataset_inputs ?? []} />
        {(tag("anneal.device") !== undefined || versions.length > 0 || seeds.length > 0) && (
          <Section title="Environment">
            <Facts
              rows={[
                optional("Device", device),
                optional("Reason for the device", tag("anneal.device.reason")),
                optional("Node.js", tag("anneal.node")),
                ...versions.map(([name, version]) => [name, version] as const),
                seeds.length > 0 ? ["Seeds", seeds.map(([name, seed]) => `${name} ${seed}`).join(", ")] : null,
              ]}
            />
          </Section>
        )}
        {otherTags.length > 0 && (
          <Section title="Tags">
            <Facts rows={otherTags.map(({ key, value }) => [<Code key={key}>{key}</Code>, value])} />
          </Section>
        )}
      </Stack>
    </div>
  );
}
