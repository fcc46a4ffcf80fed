import { Badge, Button, Group, Loader, MultiSelect, Switch, Table, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Empty, Failure, Section, When } from "../parts/bits.tsx";
import { settings } from "./api.ts";
import classes from "./settings.module.css";

const EVENTS = [
  { value: "MODEL_VERSION_STAGE.SET", label: "A version changes its stage" },
  { value: "REGISTERED_MODEL.CREATED", label: "A model is registered" },
  { value: "MODEL_VERSION.CREATED", label: "A version is registered" },
  { value: "MODEL_VERSION_ALIAS.CREATED", label: "An alias is set" },
  { value: "MODEL_VERSION_ALIAS.DELETED", label: "An alias is removed" },
  { value: "MODEL_VERSION_TAG.SET", label: "A version's tag is set" },
  { value: "MODEL_VERSION_TAG.DELETED", label: "A version's tag is removed" },
  { value: "PROMPT.CREATED", label: "A prompt is registered" },
  { value: "PROMPT_VERSION.CREATED", label: "A prompt's version is registered" },
  { value: "PROMPT_ALIAS.CREATED", label: "A prompt's alias is set" },
  { value: "PROMPT_ALIAS.DELETED", label: "A prompt's alias is removed" },
  { value: "PROMPT_TAG.SET", label: "A prompt's tag is set" },
  { value: "PROMPT_TAG.DELETED", label: "A prompt's tag is removed" },
  { value: "PROMPT_VERSION_TAG.SET", label: "A tag of a prompt's version is set" },
  { value: "PROMPT_VERSION_TAG.DELETED", label: "A tag of a prompt's version is removed" },
];

/** Webhooks for registry events. */
export function Webhooks() {
  const client = useQueryClient();
  const webhooks = useQuery({ queryKey: ["settings", "webhooks"], queryFn: settings.webhooks });
  const [name, setName] = useState("");
  const [url, setUrl] = useState("");
  const [secret, setSecret] = useState("");
  const [events, setEvents] = useState<string[]>(["MODEL_VERSION_STAGE.SET"]);
  const reread = () => client.invalidateQueries({ queryKey: ["settings", "webhooks"] });
  const add = useMutation({
    mutationFn: () => settings.addWebhook({ name, url, events, ...(secret ? { secret } : {}) }),
    onSuccess: () => {
      setName("");
      setUrl("");
      setSecret("");
      return reread();
    },
  });
  const change = useMutation({
    mutationFn: ({ id, active }: { id: string; active: boolean }) =>
      settings.changeWebhook(id, active ? "ACTIVE" : "DISABLED"),
    onSuccess: reread,
  });
  const remove = useMutation({ mutationFn: settings.removeWebhook, onSuccess: reread });
  const attempt = useMutation({ mutationFn: settings.tryWebhook, onSettled: reread });
  const failure = webhooks.error ?? add.error ?? change.error ?? remove.error ?? attempt.error;
  return (
    <Section title="Webhooks">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          add.mutate();
        }}
      >
        <Group gap="xs" align="end">
          <TextInput label="Name" required value={name} onChange={(event) => setName(event.currentTarget.value)} />
          <TextInput
            label="Address"
            placeholder="https://example.org/deploy"
            type="url"
            required
            w={280}
            value={url}
            onChange={(event) => setUrl(event.currentTarget.value)}
          />
          <TextInput
            label="Secret"
            placeholder="Signs each request"
            type="password"
            autoComplete="new-password"
            value={secret}
            onChange={(event) => setSecret(event.currentTarget.value)}
          />
          <MultiSelect size="xs" label="Events" data={EVENTS} value={events} onChange={setEvents} miw={280} />
          <Button type="submit" loading={add.isPending} disabled={!name.trim() || !url || events.length === 0}>
            Add webhook
          </Button>
        </Group>
      </form>
      {failure && <Failure error={failure} />}
      {webhooks.isPending && <Loader size="sm" mt="sm" />}
      {webhooks.data?.length === 0 && (
        <Empty title="No webhooks yet">
          A webhook notifies another program of changes in the registry, for example to deploy a version that goes to
          Production, or to post to a chat.
        </Empty>
      )}
      {webhooks.data !== undefined && webhooks.data.length > 0 && (
        <div className={classes.scroll}>
          <Table mt="sm" className={classes.table}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>Name</Table.Th>
                <Table.Th>Address</Table.Th>
                <Table.Th>Events</Table.Th>
                <Table.Th>Last delivery</Table.Th>
                <Table.Th>Active</Table.Th>
                <Table.Th />
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {webhooks.data.map((webhook) => {
                const tried = attempt.variables === webhook.id ? attempt.data : undefined;
                return (
                  <Table.Tr key={webhook.id}>
                    <Table.Td className={classes.name} title={webhook.name}>
                      {webhook.name}
                    </Table.Td>
                    <Table.Td className={classes.address} title={webhook.url}>
                      {webhook.url}
                    </Table.Td>
                    <Table.Td>
                      <Group gap={4}>
                        {webhook.events.map(({ entity, action }) => (
                          <Badge key={`${entity}.${action}`} size="xs" color="gray" tt="none">
                            {EVENTS.find(({ value }) => value === `${entity}.${action}`)?.label ?? entity}
                          </Badge>
                        ))}
                      </Group>
                    </Table.Td>
                    <Table.Td className={classes.told}>
                      {tried ? (
                        <Text fz="sm" c={tried.success ? "teal" : "red"}>
                          {tried.success
                            ? `answered ${tried.response_status} in ${tried.response_time_ms} ms`
                            : (tried.error_message ?? `answered ${tried.response_status}`)}
                        </Text>
                      ) : webhook.last_delivery ? (
                        <Text fz="sm" c={webhook.last_delivery.success ? undefined : "red"}>
                          <When time={webhook.last_delivery.time} />
                          {webhook.last_delivery.success ? "" : `: ${webhook.last_delivery.message}`}
                        </Text>
                      ) : (
                        <Text fz="sm" c="dimmed">
                          never
                        </Text>
                      )}
                    </Table.Td>
                    <Table.Td>
                      <Switch
                        size="xs"
                        aria-label={`${webhook.name} is active`}
                        checked={webhook.status === "ACTIVE"}
                        onChange={(event) => change.mutate({ id: webhook.id, active: event.currentTarget.checked })}
                      />
                    </Table.Td>
                    <Table.Td ta="right">
                      <Group gap={4} justify="end" wrap="nowrap">
                        <Button
                          size="compact-xs"
                          variant="default"
                          loading={attempt.isPending && attempt.variables === webhook.id}
                          onClick={() => attempt.mutate(webhook.id)}
                        >
                          Test
                        </Button>
                        <Button
                          size="compact-xs"
                          variant="subtle"
                          color="red"
                          onClick={() => remove.mutate(webhook.id)}
                        >
                          Remove
                        </Button>
                      </Group>
                    </Table.Td>
                  </Table.Tr>
                );
              })}
            </Table.Tbody>
          </Table>
        </div>
      )}
    </Section>
  );
}
