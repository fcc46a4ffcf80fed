import { Badge, Button, Group, Loader, Modal, Select, Stack, Switch, Table, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Empty, Failure, Section, When } from "../parts/bits.tsx";
import { type Role, settings, type User } from "./api.ts";
import { Grants } from "./grants.tsx";
import { ROLES } from "./roles.ts";
import classes from "./settings.module.css";
import { Tokens } from "./tokens.tsx";

/** Users with their roles and tokens. */
export function Users() {
  const client = useQueryClient();
  const users = useQuery({ queryKey: ["settings", "users"], queryFn: settings.users });
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  const [open, setOpen] = useState<string | undefined>();
  const reread = () => client.invalidateQueries({ queryKey: ["settings", "users"] });
  const add = useMutation({
    mutationFn: () => settings.addUser(name.trim(), role),
    onSuccess: () => {
      setOpen(name.trim());
      setName("");
      return reread();
    },
  });
  const change = useMutation({
    mutationFn: ({ name, ...to }: { name: string; role?: Role; disabled?: boolean }) => settings.changeUser(name, to),
    onSuccess: reread,
  });
  const chosen = users.data?.find((user) => user.name === open);
  const failure = users.error ?? add.error ?? change.error;
  return (
    <Section title="Users">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          add.mutate();
        }}
      >
        <Group gap="xs" align="end">
          <TextInput
            label="Name"
            placeholder="ada, or ada@example.org"
            w={230}
            required
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
          />
          <Select
            label="Role"
            data={ROLES}
            value={role}
            onChange={(value) => setRole((value as Role | null) ?? "viewer")}
            allowDeselect={false}
          />
          <Button type="submit" loading={add.isPending} disabled={name.trim() === ""}>
            Add user
          </Button>
        </Group>
      </form>
      {failure && <Failure error={failure} />}
      {users.isPending && <Loader size="sm" mt="sm" />}
      {users.data?.length === 0 && (
        <Empty title="No other users yet">
          A user has one role for the whole tracker, and can have another for single experiments and models. Users sign
          in with a token that you create for them here, or by OpenID Connect if the tracker runs with{" "}
          <code>--oidc-issuer</code>.
        </Empty>
      )}
      {users.data !== undefined && users.data.length > 0 && (
        <div className={classes.scroll}>
          <Table mt="sm" highlightOnHover className={classes.table}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>Name</Table.Th>
                <Table.Th>Role</Table.Th>
                <Table.Th>Created</Table.Th>
                <Table.Th />
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {users.data.map((user) => (
                <Table.Tr key={user.name}>
                  <Table.Td className={classes.name} title={user.name}>
                    {user.name}
                    {user.signs_in && (
                      <Badge ml={8} size="xs" color="gray">
                        signs in
                      </Badge>
                    )}
                    {user.disabled && (
                      <Badge ml={8} size="xs" color="red">
                        shut out
                      </Badge>
                    )}
                  </Table.Td>
                  <Table.Td>
                    <Select
                      size="xs"
                      aria-label={`Role of ${user.name}`}
                      data={ROLES}
                      value={user.role}
                      allowDeselect={false}
                      w={210}
                      onChange={(value) => value && change.mutate({ name: user.name, role: value as Role })}
                    />
                  </Table.Td>
                  <Table.Td>
                    <When time={user.creation_time} />
                  </Table.Td>
                  <Table.Td ta="right">
                    <Button size="compact-xs" variant="default" onClick={() => setOpen(user.name)}>
                      Tokens and access
                    </Button>
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </div>
      )}
      {chosen && (
        <UserDialog
          user={chosen}
          onClose={() => setOpen(undefined)}
          onDisable={(disabled) => change.mutate({ name: chosen.name, disabled })}
          onRemoved={() => {
            setOpen(undefined);
            void reread();
          }}
        />
      )}
    </Section>
  );
}

function UserDialog({
  user,
  onClose,
  onDisable,
  onRemoved,
}: {
  user: User;
  onClose(): void;
  onDisable(disabled: boolean): void;
  onRemoved(): void;
}) {
  const [confirming, setConfirming] = useState(false);
  const remove = useMutation({ mutationFn: () => settings.removeUser(user.name), onSuccess: onRemoved });
  return (
    <Modal opened onClose={onClose} size="xl" title={user.name}>
      <Stack gap="sm">
        <Tokens user={user.name} />
        <Grants user={user} />
        <Group justify="space-between">
          <Switch
            label="Disabled"
            description="A disabled user's tokens are refused."
            checked={user.disabled}
            onChange={(event) => onDisable(event.currentTarget.checked)}
          />
          {confirming ? (
            <Group gap="xs">
              <Text fz="sm">Their runs are kept. Remove the user?</Text>
              <Button size="xs" color="red" loading={remove.isPending} onClick={() => remove.mutate()}>
                Remove {user.name}
              </Button>
            </Group>
          ) : (
            <Button size="xs" variant="subtle" color="red" onClick={() => setConfirming(true)}>
              Remove user
            </Button>
          )}
        </Group>
        {remove.error && <Failure error={remove.error} />}
      </Stack>
    </Modal>
  );
}
