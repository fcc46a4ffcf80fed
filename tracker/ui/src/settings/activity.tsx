import { Badge, Button, Group, Loader, Table, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Empty, Failure, Section, When } from "../parts/bits.tsx";
import { settings } from "./api.ts";
import classes from "./settings.module.css";

/** The part of the path that names the action. */
const shortAction = (action: string): string => action.replace(/\/(ajax-)?api\/(2\.0\/mlflow|anneal)\//, " ");

/** Audit log, newest first. */
export function Activity() {
  const [who, setWho] = useState("");
  const [target, setTarget] = useState("");
  const [search] = useDebouncedValue({ who: who.trim(), target: target.trim() }, 250);
  const audit = useInfiniteQuery({
    queryKey: ["settings", "audit", search],
    queryFn: ({ pageParam }) => settings.audit({ ...search, ...(pageParam ? { before: pageParam } : {}) }),
    initialPageParam: 0,
    // There is no event for new log entries.
    staleTime: 0,
    getNextPageParam: (page) => (page.length < 100 ? undefined : page.at(-1)?.id),
  });
  const entries = audit.data?.pages.flat() ?? [];
  return (
    <Section title="Audit log">
      <Group gap="xs">
        <TextInput
          label="User"
          placeholder="Everyone"
          value={who}
          onChange={(event) => setWho(event.currentTarget.value)}
        />
        <TextInput
          label="Target"
          placeholder="Run id or model name"
          w={230}
          value={target}
          onChange={(event) => setTarget(event.currentTarget.value)}
        />
      </Group>
      {audit.error && <Failure error={audit.error} />}
      {audit.isPending && <Loader size="sm" mt="sm" />}
      {audit.data && entries.length === 0 && <Empty title="No changes match" />}
      {entries.length > 0 && (
        <div className={classes.scroll}>
          <Table mt="sm" className={classes.table}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>When</Table.Th>
                <Table.Th>User</Table.Th>
                <Table.Th>Action</Table.Th>
                <Table.Th>Target</Table.Th>
                <Table.Th />
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {entries.map((entry) => (
                <Table.Tr key={entry.id}>
                  <Table.Td>
                    <When time={entry.time} />
                  </Table.Td>
                  <Table.Td className={classes.name} title={entry.who}>
                    {entry.who}
                  </Table.Td>
                  <Table.Td className={classes.address} title={entry.action}>
                    {shortAction(entry.action)}
                  </Table.Td>
                  <Table.Td className={classes.address} title={entry.target}>
                    {entry.target}
                  </Table.Td>
                  <Table.Td ta="right">
                    {entry.status >= 400 && (
                      <Badge size="xs" color="red">
                        refused, {entry.status}
                      </Badge>
                    )}
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </div>
      )}
      {audit.hasNextPage && (
        <Button mt="sm" variant="default" loading={audit.isFetchingNextPage} onClick={() => void audit.fetchNextPage()}>
          Earlier
        </Button>
      )}
    </Section>
  );
}
