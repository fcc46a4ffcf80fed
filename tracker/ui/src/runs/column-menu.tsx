import { Button, Checkbox, Popover, ScrollArea, Stack, Text, TextInput } from "@mantine/core";
import { Columns3Icon } from "lucide-react";
import { useState } from "react";
import { FIXED } from "./columns.tsx";

/** Chooses the columns of the table: any metric and any param that some run has. */
export function ColumnMenu({
  keys,
  shown,
  onShown,
  onReset,
}: {
  keys: { metrics: string[]; params: string[] };
  shown: string[];
  onShown(ids: string[]): void;
  onReset(): void;
}) {
  const [nameFilter, setNameFilter] = useState("");
  const groups = [
    { title: "Run", ids: FIXED.filter(({ id }) => id !== "name").map(({ id, title }) => ({ id, title })) },
    { title: "Metrics", ids: keys.metrics.map((key) => ({ id: `metric:${key}`, title: key })) },
    { title: "Parameters", ids: keys.params.map((key) => ({ id: `param:${key}`, title: key })) },
  ];
  return (
    <Popover position="bottom-end" shadow="md" width={280} trapFocus>
      <Popover.Target>
        <Button variant="default" leftSection={<Columns3Icon size={14} />}>
          Columns
        </Button>
      </Popover.Target>
      <Popover.Dropdown p="xs">
        <TextInput
          aria-label="Find a column"
          placeholder="Find a column"
          value={nameFilter}
          onChange={(event) => setNameFilter(event.currentTarget.value)}
          mb="xs"
        />
        <ScrollArea.Autosize mah={360} type="auto">
          {groups.map(({ title, ids }) => {
            const matching = ids
              .filter((column) => column.title.toLowerCase().includes(nameFilter.toLowerCase()))
              .slice(0, 200);
            if (matching.length === 0) return null;
            return (
              <Stack gap={5} key={title} mb="sm">
                <Text fz="xs" c="dimmed" fw={600}>
                  {title}
                </Text>
                {matching.map((column) => (
                  <Checkbox
                    key={column.id}
                    label={column.title}
                    checked={shown.includes(column.id)}
                    onChange={(event) =>
                      onShown(
                        event.currentTarget.checked ? [...shown, column.id] : shown.filter((id) => id !== column.id),
                      )
                    }
                    styles={{ label: { overflowWrap: "anywhere" } }}
                  />
                ))}
              </Stack>
            );
          })}
        </ScrollArea.Autosize>
        <Button variant="subtle" size="compact-xs" onClick={onReset}>
          Reset to the usual columns
        </Button>
      </Popover.Dropdown>
    </Popover>
  );
}
