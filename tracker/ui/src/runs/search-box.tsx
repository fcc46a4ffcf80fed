import { ActionIcon, CloseButton, Code, Popover, Stack, Text, TextInput } from "@mantine/core";
import { CircleQuestionMarkIcon, SearchIcon } from "lucide-react";
import { useEffect, useState } from "react";

const OPERATOR = /[=<>]|\b(like|ilike|in)\b/i;

/** Converts input to a filter: text without an operator matches part of the run name. */
export function filterOf(typed: string): string {
  const text = typed.trim();
  if (text === "" || OPERATOR.test(text)) return text;
  const quote = text.includes("'") ? '"' : "'";
  return `attributes.run_name ILIKE ${quote}%${text}%${quote}`;
}

const EXAMPLES = [
  ["lora", "a part of the run's name"],
  ["metrics.test/loss < 2.5", "a metric; also = != <= > >="],
  ["params.lora_r = '8' AND metrics.train/loss < 1", "both; params and tags are text"],
  ["attributes.status = 'FAILED'", "also run_name, user_id, start_time, duration"],
  ["tags.`mlflow.source.name` LIKE '%fine-tune%'", "a key with dots, in backticks"],
  ["datasets.digest = 'ab12cd'", "runs that read a data set"],
] as const;

/** The search over runs, in the filter language of MLflow. */
export function SearchBox({ value, onSearch }: { value: string; onSearch(typed: string): void }) {
  const [typed, setTyped] = useState(value);
  useEffect(() => setTyped(value), [value]);
  useEffect(() => {
    if (typed === value) return undefined;
    const timer = setTimeout(() => onSearch(typed), 450);
    return () => clearTimeout(timer);
  }, [typed, value, onSearch]);
  return (
    <TextInput
      aria-label="Search runs"
      placeholder="Search by name, or metrics.test/loss < 2.5"
      value={typed}
      onChange={(event) => setTyped(event.currentTarget.value)}
      onKeyDown={(event) => {
        if (event.key === "Enter") onSearch(typed);
      }}
      leftSection={<SearchIcon size={16} />}
      rightSectionWidth={56}
      rightSection={
        <>
          {typed !== "" && (
            <CloseButton
              size="xs"
              aria-label="Clear the search"
              onClick={() => {
                setTyped("");
                onSearch("");
              }}
            />
          )}
          <Popover position="bottom-end" shadow="md" width={360}>
            <Popover.Target>
              <ActionIcon variant="subtle" color="gray" size="sm" aria-label="How to search">
                <CircleQuestionMarkIcon size={14} />
              </ActionIcon>
            </Popover.Target>
            <Popover.Dropdown>
              <Stack gap={8}>
                {EXAMPLES.map(([example, meaning]) => (
                  <div key={example}>
                    <Code>{example}</Code>
                    <Text fz="xs" c="dimmed">
                      {meaning}
                    </Text>
                  </div>
                ))}
              </Stack>
            </Popover.Dropdown>
          </Popover>
        </>
      }
      styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)", fontSize: 12.5 } }}
    />
  );
}
