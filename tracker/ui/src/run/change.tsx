import { Button, Group, Menu, Modal, Stack, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useRefusal } from "../access.ts";
import { api, type Run } from "../api.ts";
import { Failure } from "../parts/bits.tsx";

/** Renames, ends or deletes a run. */
export function ChangeRun({ run }: { run: Run }) {
  const client = useQueryClient();
  const { run_id, run_name, experiment_id } = run.info;
  const noRename = useRefusal("POST /api/2.0/mlflow/runs/update", { experiment_id });
  const noDelete = useRefusal("POST /api/2.0/mlflow/runs/delete", { experiment_id });
  const [name, setName] = useState<string>();
  const change = useMutation({
    mutationFn: (work: () => Promise<unknown>) => work(),
    onSuccess: () => {
      setName(undefined);
      for (const key of ["run", "runs", "experiments"]) void client.invalidateQueries({ queryKey: [key] });
    },
  });
  const isOpen = run.info.status === "RUNNING" || run.info.status === "SCHEDULED";
  return (
    <>
      {isOpen && (
        <Menu position="bottom-end">
          <Menu.Target>
            <Button
              variant="default"
              size="compact-xs"
              disabled={noRename !== undefined}
              title={noRename ?? "For a run whose process has ended without saying so. It does not stop a process."}
            >
              Mark as ended
            </Button>
          </Menu.Target>
          <Menu.Dropdown>
            {(["FAILED", "KILLED", "FINISHED"] as const).map((status) => (
              <Menu.Item key={status} onClick={() => change.mutate(() => api.endRun(run_id, status))}>
                {status.charAt(0) + status.slice(1).toLowerCase()}
              </Menu.Item>
            ))}
          </Menu.Dropdown>
        </Menu>
      )}
      <Button
        variant="default"
        size="compact-xs"
        disabled={noRename !== undefined}
        title={noRename}
        onClick={() => setName(run_name)}
      >
        Rename
      </Button>
      <Button
        variant="subtle"
        color="red"
        size="compact-xs"
        disabled={noDelete !== undefined}
        title={noDelete}
        loading={change.isPending}
        onClick={() => {
          if (window.confirm("Delete this run? It can be restored here.")) change.mutate(() => api.deleteRun(run_id));
        }}
      >
        Delete
      </Button>
      {change.error && name === undefined && <Failure error={change.error} />}
      {name !== undefined && (
        <Modal opened onClose={() => setName(undefined)} centered title="Rename the run">
          <form
            onSubmit={(event) => {
              event.preventDefault();
              change.mutate(() => api.renameRun(run_id, name.trim()));
            }}
          >
            <Stack gap="sm">
              <TextInput
                label="Name"
                data-autofocus
                value={name}
                onChange={(event) => setName(event.currentTarget.value)}
              />
              {change.error && <Failure error={change.error} />}
              <Group justify="flex-end" gap="xs">
                <Button variant="default" onClick={() => setName(undefined)}>
                  Cancel
                </Button>
                <Button type="submit" disabled={name.trim() === ""} loading={change.isPending}>
                  Rename
                </Button>
              </Group>
            </Stack>
          </form>
        </Modal>
      )}
    </>
  );
}
