import { Button, Group, Select, Table, Text } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../api.ts";
import { Failure, Section } from "../parts/bits.tsx";
import { type Grant, type Role, settings, type User } from "./api.ts";
import { ROLES } from "./roles.ts";
import classes from "./settings.module.css";

const roleLabel = (role: Role): string => ROLES.find(({ value }) => value === role)?.label ?? role;

/** A user's roles for individual experiments and models, which override the default role. */
export function Grants({ user }: { user: User }) {
  const client = useQueryClient();
  const key = ["settings", "grants", user.name];
  const grants = useQuery({ queryKey: key, queryFn: () => settings.grants(user.name) });
  const experiments = useQuery({ queryKey: ["experiments"], queryFn: api.experiments });
  const experimentList = experiments.data?.experiments ?? [];
  const models = useQuery({ queryKey: ["models"], queryFn: api.models });
  const [target, setTarget] = useState<string | null>(null);
  const [role, setRole] = useState<Role>("editor");
  const reread = () => client.invalidateQueries({ queryKey: key });
  const set = useMutation({
    mutationFn: () => {
      const [kind, ...rest] = (target ?? "").split(":");
      return settings.setGrant({ user: user.name, kind: kind as Grant["kind"], target: rest.join(":"), role });
    },
    onSuccess: () => {
      setTarget(null);
      return reread();
    },
  });
  const remove = useMutation({ mutationFn: settings.removeGrant, onSuccess: reread });
  const nameOf = ({ kind, target: id }: Grant): string =>
    kind === "model" ? id : (experimentList.find((it) => it.experiment_id === id)?.name ?? id);
  const failure = grants.error ?? set.error ?? remove.error;
  return (
    <Section title="Access to single experiments and models">
      <Text fz="sm" c="dimmed" mb={8}>
        A role granted here replaces the user&apos;s role for the whole tracker, which is {user.role}.
      </Text>
      <Group gap="xs" align="end">
        <Select
          label="Experiment or model"
          placeholder="Choose one"
          searchable
          w={260}
          value={target}
          onChange={setTarget}
          data={[
            {
              group: "Experiments",
              items: experimentList.map((it) => ({
                value: `experiment:${it.experiment_id}`,
                label: it.name,
              })),
            },
            {
              group: "Models",
              items: (models.data ?? []).map(({ name }) => ({ value: `model:${name}`, label: name })),
            },
          ]}
        />
        <Select
          label="Access"
          w={240}
          data={ROLES}
          value={role}
          onChange={(value) => setRole((value as Role | null) ?? "viewer")}
          allowDeselect={false}
        />
        <Button disabled={target === null} loading={set.isPending} onClick={() => set.mutate()}>
          Grant
        </Button>
      </Group>
      {failure && <Failure error={failure} />}
      {grants.data !== undefined && grants.data.length > 0 && (
        <Table mt="sm" className={classes.table}>
          <Table.Tbody>
            {grants.data.map((grant) => (
              <Table.Tr key={`${grant.kind} ${grant.target}`}>
                <Table.Td>{grant.kind === "model" ? "Model" : "Experiment"}</Table.Td>
                <Table.Td className={classes.name} title={nameOf(grant)}>
                  {nameOf(grant)}
                </Table.Td>
                <Table.Td>{roleLabel(grant.role)}</Table.Td>
                <Table.Td ta="right">
                  <Button size="compact-xs" variant="subtle" color="red" onClick={() => remove.mutate(grant)}>
                    Revoke
                  </Button>
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </Section>
  );
}
