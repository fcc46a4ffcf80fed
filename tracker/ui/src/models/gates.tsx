import { ActionIcon, Button, Group, NumberInput, Select, Stack, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { CheckIcon, XIcon } from "lucide-react";
import { useEffect, useState } from "react";
import { useRefusal } from "../access.ts";
import { api, type Gate, type GateResult } from "../api.ts";
import { Failure, Section } from "../parts/bits.tsx";
import classes from "./models.module.css";

/** A gate being edited: the bound may be unset. */
interface Draft {
  id: number;
  metric: string;
  op: Gate["op"];
  versus: "bound" | "production";
  bound: number | "";
}

const OPERATORS: { value: Gate["op"]; label: string }[] = [
  { value: "<", label: "<  below" },
  { value: "<=", label: "≤  at most" },
  { value: ">", label: ">  above" },
  { value: ">=", label: "≥  at least" },
];

let lastId = 0;
const draftOf = (gate: Gate): Draft => ({
  id: ++lastId,
  metric: gate.metric,
  op: gate.op,
  versus: gate.versus ?? "bound",
  bound: gate.bound ?? "",
});

function gateOf({ metric, op, versus, bound }: Draft): Gate {
  if (metric.trim() === "") throw new Error("A gate needs the name of a metric, such as test/perplexity.");
  if (versus === "production") return { metric: metric.trim(), op, versus };
  if (bound === "") throw new Error(`The gate on ${metric} needs a number to compare with.`);
  return { metric: metric.trim(), op, bound };
}

/** The gates that a version must pass before Production. Editable by the model's admins, read-only for others. */
export function Gates({ name, metrics }: { name: string; metrics: string[] }) {
  const refusal = useRefusal("PUT /api/anneal/registered-models/:name/gates", { model: name });
  return refusal === undefined ? (
    <GatesEditor name={name} metrics={metrics} />
  ) : (
    <GatesList name={name} why={refusal} />
  );
}

const gateText = ({ metric, op, bound, versus }: Gate): string =>
  `${metric} ${op} ${versus === "production" ? "Production" : bound}`;

function GatesList({ name, why }: { name: string; why: string }) {
  const gates = useQuery({ queryKey: ["model", name, "gates"], queryFn: () => api.gates(name) });
  return (
    <Section title="Gates for Production">
      {gates.error && <Failure error={gates.error} />}
      {gates.data?.length === 0 && <Text fz="sm">No gates: any version may be promoted.</Text>}
      {gates.data?.map((gate) => (
        <Text key={gateText(gate)} fz="sm" fw={550} className={classes.gateText}>
          {gateText(gate)}
        </Text>
      ))}
      <Text fz="xs" c="dimmed" mt="xs">
        {why}
      </Text>
    </Section>
  );
}

function GatesEditor({ name, metrics }: { name: string; metrics: string[] }) {
  const client = useQueryClient();
  const gates = useQuery({ queryKey: ["model", name, "gates"], queryFn: () => api.gates(name) });
  const [drafts, setDrafts] = useState<Draft[]>([]);
  const [changed, setChanged] = useState(false);
  useEffect(() => {
    if (gates.data && !changed) setDrafts(gates.data.map(draftOf));
  }, [gates.data, changed]);
  const save = useMutation({
    mutationFn: async () => api.setGates(name, drafts.map(gateOf)),
    onSuccess: (saved) => {
      client.setQueryData(["model", name, "gates"], saved);
      void client.invalidateQueries({ queryKey: ["model", name] });
      setChanged(false);
    },
  });
  const edit = (id: number, change: Partial<Draft>): void => {
    setChanged(true);
    setDrafts(drafts.map((draft) => (draft.id === id ? { ...draft, ...change } : draft)));
  };
  return (
    <Section
      title="Gates for Production"
      aside={
        <Text fz="xs" c="dimmed">
          {save.isSuccess && !changed ? "Saved" : changed ? "Not saved yet" : ""}
        </Text>
      }
    >
      <Text fz="sm" c="dimmed" mb="sm">
        A version goes to Production only if the metrics of its source run pass every gate. This holds for MLflow
        clients too.
      </Text>
      <Stack gap="xs">
        {drafts.map((draft, index) => (
          <Group
            key={draft.id}
            gap={6}
            align="flex-end"
            className={classes.gate}
            role="group"
            aria-label={`Gate ${index + 1}`}
          >
            <TextInput
              className={classes.gateMetric}
              aria-label={`Metric of gate ${index + 1}`}
              placeholder="test/perplexity"
              list="known-metrics"
              value={draft.metric}
              onChange={(event) => edit(draft.id, { metric: event.currentTarget.value })}
            />
            <Select
              w={112}
              aria-label={`Comparison of gate ${index + 1}`}
              allowDeselect={false}
              data={OPERATORS}
              value={draft.op}
              onChange={(op) => op && edit(draft.id, { op })}
            />
            <Select
              w={142}
              aria-label={`Compared with, gate ${index + 1}`}
              allowDeselect={false}
              data={[
                { value: "bound", label: "a number" },
                { value: "production", label: "Production now" },
              ]}
              value={draft.versus}
              onChange={(versus) => edit(draft.id, { versus: versus === "production" ? "production" : "bound" })}
            />
            {draft.versus === "bound" && (
              <NumberInput
                w={92}
                hideControls
                aria-label={`Bound of gate ${index + 1}`}
                placeholder="10"
                value={draft.bound}
                onChange={(bound) =>
                  edit(draft.id, { bound: typeof bound === "number" ? bound : bound === "" ? "" : Number(bound) })
                }
              />
            )}
            <ActionIcon
              variant="subtle"
              color="gray"
              aria-label={`Remove gate ${index + 1}`}
              onClick={() => {
                setChanged(true);
                setDrafts(drafts.filter(({ id }) => id !== draft.id));
              }}
            >
              <XIcon size={14} />
            </ActionIcon>
          </Group>
        ))}
        <datalist id="known-metrics">
          {metrics.map((metric) => (
            <option key={metric} value={metric} />
          ))}
        </datalist>
        {drafts.length === 0 && <Text fz="sm">No gates: any version may be promoted.</Text>}
        {save.error && <Failure error={save.error} />}
        {gates.error && <Failure error={gates.error} />}
        <Group gap="xs" mt={4}>
          <Button
            variant="default"
            onClick={() => {
              setChanged(true);
              const metric = metrics.includes("test/perplexity") ? "test/perplexity" : "";
              setDrafts([...drafts, draftOf({ metric, op: "<" })]);
            }}
          >
            Add gate
          </Button>
          <Button disabled={!changed} loading={save.isPending} onClick={() => save.mutate()}>
            Save gates
          </Button>
        </Group>
      </Stack>
    </Section>
  );
}

/** The result of each gate for a version. */
export function GateResults({ results }: { results: GateResult[] }) {
  return (
    <ul className={classes.results}>
      {results.map((result) => (
        <li key={`${result.metric} ${result.op} ${result.bound ?? "production"}`} data-passed={result.passed}>
          <span className={classes.verdict} role="img" aria-label={result.passed ? "Passed" : "Failed"}>
            {result.passed ? <CheckIcon size={14} /> : <XIcon size={14} />}
          </span>
          <span>
            <Text span fz="sm" fw={550}>
              {gateText(result)}
            </Text>
            <Text fz="xs" c="dimmed">
              {result.why}
            </Text>
          </span>
        </li>
      ))}
    </ul>
  );
}
