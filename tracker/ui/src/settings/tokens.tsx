import { Alert, Button, Group, Loader, Select, Table, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Copyable, Empty, Failure, Section, When } from "../parts/bits.tsx";
import { type Scope, settings } from "./api.ts";
import classes from "./settings.module.css";

const SCOPES: { value: Scope; label: string }[] = [
  { value: "read", label: "Read only" },
  { value: "write", label: "Read and write" },
  { value: "admin", label: "Full access of the user" },
];
const ENDS = [
  { value: "30", label: "In 30 days" },
  { value: "90", label: "In 90 days" },
  { value: "365", label: "In a year" },
  { value: "", label: "Never" },
];

/** Creates, lists and revokes a user's tokens. */
export function Tokens({ user }: { user: string }) {
  const client = useQueryClient();
  const key = ["settings", "tokens", user];
  const tokens = useQuery({ queryKey: key, queryFn: () => settings.tokens(user) });
  const [label, setLabel] = useState("");
  const [scope, setScope] = useState<Scope>("write");
  const [end, setEnd] = useState("90");
  const reread = () => client.invalidateQueries({ queryKey: key });
  const add = useMutation({
    mutationFn: () => settings.addToken({ user, label, scope, ...(end ? { expires_in_days: Number(end) } : {}) }),
    onSuccess: () => {
      setLabel("");
      return reread();
    },
  });
  const remove = useMutation({ mutationFn: settings.removeToken, onSuccess: reread });
  const failure = tokens.error ?? add.error ?? remove.error;
  return (
    <Section title={`Tokens of ${user}`}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          add.mutate();
        }}
      >
        <Group gap="xs" align="end">
          <TextInput
            label="Name"
            placeholder="laptop, CI, a dashboard"
            required
            maxLength={200}
            value={label}
            onChange={(event) => setLabel(event.currentTarget.value)}
          />
          <Select
            label="Access"
            data={SCOPES}
            value={scope}
            onChange={(value) => setScope((value as Scope | null) ?? "write")}
            allowDeselect={false}
          />
          <Select
            label="Expires"
            data={ENDS}
            value={end}
            onChange={(value) => setEnd(value ?? "")}
            allowDeselect={false}
          />
          <Button type="submit" loading={add.isPending} disabled={label.trim() === ""}>
            Create token
          </Button>
        </Group>
      </form>
      {failure && <Failure error={failure} />}
      {add.data && (
        <Alert mt="sm" color="teal" title={`The token for ${add.data.label}`}>
          <Text fz="sm" mb={6}>
            Copy it now: it is not shown again. Programs send it as <code>ANNEAL_TOKEN</code>, or as{" "}
            <code>MLFLOW_TRACKING_TOKEN</code> for MLflow's clients.
          </Text>
          <Copyable text={add.data.token} />
        </Alert>
      )}
      {tokens.isPending && <Loader size="sm" mt="sm" />}
      {tokens.data?.length === 0 && <Empty title="No tokens yet" />}
      {tokens.data !== undefined && tokens.data.length > 0 && (
        <div className={classes.scroll}>
          <Table mt="sm" className={classes.table}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>Name</Table.Th>
                <Table.Th>Access</Table.Th>
                <Table.Th>Created</Table.Th>
                <Table.Th>Last used</Table.Th>
                <Table.Th>Expires</Table.Th>
                <Table.Th />
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {tokens.data.map((token) => (
                <Table.Tr key={token.id}>
                  <Table.Td className={classes.name} title={token.label}>
                    {token.session ? "Browser session" : token.label}
                  </Table.Td>
                  <Table.Td>{SCOPES.find(({ value }) => value === token.scope)?.label}</Table.Td>
                  <Table.Td>
                    <When time={token.creation_time} />
                  </Table.Td>
                  <Table.Td>{token.last_used_time === null ? "never" : <When time={token.last_used_time} />}</Table.Td>
                  <Table.Td>
                    {token.expiration_time === null ? (
                      "never"
                    ) : token.expiration_time < Date.now() ? (
                      <Text span c="red" fz="sm">
                        ended
                      </Text>
                    ) : (
                      new Date(token.expiration_time).toLocaleDateString()
                    )}
                  </Table.Td>
                  <Table.Td ta="right">
                    <Button
                      size="compact-xs"
                      variant="subtle"
                      color="red"
                      loading={remove.isPending && remove.variables === token.id}
                      onClick={() => remove.mutate(token.id)}
                    >
                      Revoke
                    </Button>
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </div>
      )}
    </Section>
  );
}
