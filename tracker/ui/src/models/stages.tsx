import { Button, Checkbox, Group, Loader, Modal, Stack, Text, Textarea } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { ApiError, api, type ModelVersion, type StageChange } from "../api.ts";
import { Empty, Failure, Section, StageBadge, When } from "../parts/bits.tsx";
import { GateResults } from "./gates.tsx";
import classes from "./models.module.css";

/** Confirms a stage transition; for Production it shows the gate results. */
export function StageDialog({ version, stage, onClose }: { version: ModelVersion; stage: string; onClose(): void }) {
  const client = useQueryClient();
  const toProduction = stage === "Production";
  const verdict = useQuery({
    queryKey: ["model", version.name, "verdict", version.version],
    queryFn: () => api.verdict(version.name, version.version),
    enabled: toProduction,
    staleTime: 0,
  });
  const [comment, setComment] = useState("");
  const [archive, setArchive] = useState(true);
  const move = useMutation({
    mutationFn: () =>
      api.promote({
        name: version.name,
        version: version.version,
        stage,
        ...(comment.trim() === "" ? {} : { comment }),
        ...(toProduction ? { archiveExisting: archive } : {}),
      }),
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: ["model"] });
      void client.invalidateQueries({ queryKey: ["models"] });
      onClose();
    },
  });
  const refused = move.error instanceof ApiError ? move.error.gates : undefined;
  const gates = refused ?? verdict.data?.gates ?? [];
  const blocked = toProduction && (verdict.data === undefined || !verdict.data.passed);
  const current = verdict.data?.production_version;
  return (
    <Modal
      opened
      onClose={onClose}
      centered
      size="md"
      title={
        toProduction
          ? `Promote version ${version.version} to Production`
          : stage === "None"
            ? `Take version ${version.version} out of its stage`
            : `Move version ${version.version} to ${stage}`
      }
    >
      <Stack gap="sm">
        {toProduction && (
          <div>
            <Text fz="sm" fw={600} mb={4}>
              Gates
            </Text>
            {verdict.isPending && <Loader size="xs" />}
            {verdict.error && <Failure error={verdict.error} />}
            {verdict.data && gates.length === 0 && <Text fz="sm">This model has no gates, so nothing is checked.</Text>}
            <GateResults results={gates} />
            {blocked && verdict.data && (
              <Text fz="sm" c="red" mt={6}>
                This version does not pass, so it cannot go to Production.
              </Text>
            )}
          </div>
        )}
        {toProduction && current !== null && current !== undefined && (
          <Checkbox
            label={`Archive version ${current}, which is in Production now`}
            checked={archive}
            onChange={(event) => setArchive(event.currentTarget.checked)}
          />
        )}
        <Textarea
          label="Comment"
          description="Kept in the history of stages"
          autosize
          minRows={2}
          value={comment}
          onChange={(event) => setComment(event.currentTarget.value)}
        />
        {move.error && <Failure error={move.error} />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button disabled={blocked} loading={move.isPending} onClick={() => move.mutate()}>
            {toProduction ? "Promote" : "Move"}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}

function Change({ change }: { change: StageChange }) {
  return (
    <li className={classes.change}>
      <Group gap={6}>
        <Text fz="sm" fw={550} span>
          Version {change.version}
        </Text>
        <StageBadge stage={change.from} />
        <span aria-hidden="true">→</span>
        <StageBadge stage={change.to} />
      </Group>
      <Text fz="xs" c="dimmed" component="div">
        {change.who}, <When time={change.at} />
      </Text>
      {change.comment && (
        <Text fz="sm" className={classes.comment}>
          {change.comment}
        </Text>
      )}
      {change.gates.length > 0 && (
        <details className={classes.details}>
          <summary>
            {change.gates.length} {change.gates.length === 1 ? "gate" : "gates"} passed
          </summary>
          <GateResults results={change.gates} />
        </details>
      )}
    </li>
  );
}

/** Stage history, newest first. */
export function StageHistory({ name, version }: { name: string; version?: number }) {
  const history = useQuery({ queryKey: ["model", name, "history"], queryFn: () => api.history(name) });
  const shown = (history.data ?? []).filter((change) => version === undefined || change.version === version);
  return (
    <Section title="History of stages">
      {history.error && <Failure error={history.error} />}
      {history.data && shown.length === 0 && (
        <Empty title="No changes yet">
          Who moves a version to a stage, when, and what the gates said is recorded here.
        </Empty>
      )}
      <ol className={classes.history}>
        {shown.map((change, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: new entries are only added at the other end
          <Change key={shown.length - index} change={change} />
        ))}
      </ol>
    </Section>
  );
}
