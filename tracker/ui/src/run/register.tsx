import { Autocomplete, Button, Group, Modal, Stack, Text } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, type LoggedModel } from "../api.ts";
import { Failure, PageLink } from "../parts/bits.tsx";

/** Registers a run's logged model as a version of a new or existing registered model. */
export function RegisterDialog({ model, runId, onClose }: { model: LoggedModel; runId: string; onClose(): void }) {
  const client = useQueryClient();
  const { model_id, name: logged } = model.info;
  const models = useQuery({ queryKey: ["models"], queryFn: api.models });
  const modelNames = (models.data ?? []).map((it) => it.name);
  const [text, setText] = useState("");
  const name = text.trim();
  const isNew = !modelNames.includes(name);
  const register = useMutation({
    mutationFn: async () => {
      if (isNew) await api.createModel(name);
      return api.createVersion({ name, source: `models:/${model_id}`, run_id: runId, model_id });
    },
    // The model may have been created even if creating its version failed.
    onSettled: () => {
      void client.invalidateQueries({ queryKey: ["model"] });
      return client.invalidateQueries({ queryKey: ["models"] });
    },
  });
  const registered = register.data;
  return (
    <Modal opened onClose={onClose} centered title={`Register ${logged}`}>
      {registered ? (
        <Stack gap="sm">
          <Text fz="sm">
            Registered as{" "}
            <PageLink
              to="/models/$name/versions/$version"
              params={{ name: registered.name, version: registered.version }}
              fz="sm"
            >
              {registered.name}, version {registered.version}
            </PageLink>
            .
          </Text>
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              Close
            </Button>
          </Group>
        </Stack>
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            register.mutate();
          }}
        >
          <Stack gap="sm">
            <Autocomplete
              size="xs"
              label="Registered model"
              description="One that is there, which gets a new version, or the name of a new one"
              data-autofocus
              data={modelNames}
              value={text}
              onChange={setText}
              maxLength={250}
            />
            {register.error && <Failure error={register.error} />}
            {models.error && <Failure error={models.error} />}
            <Group justify="flex-end" gap="xs">
              <Button variant="default" onClick={onClose}>
                Cancel
              </Button>
              <Button type="submit" disabled={name === "" || !models.data} loading={register.isPending}>
                {name !== "" && isNew ? "Register as a new model" : "Register"}
              </Button>
            </Group>
          </Stack>
        </form>
      )}
    </Modal>
  );
}
