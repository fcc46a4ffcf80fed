import {
  Anchor,
  type AnchorProps,
  Badge,
  Box,
  Code,
  CopyButton,
  Stack,
  Text,
  Title,
  Tooltip,
  UnstyledButton,
} from "@mantine/core";
import { createLink } from "@tanstack/react-router";
import type { ComponentProps, ReactNode } from "react";
import type { RunInfo } from "../api.ts";
import { formatAgo, formatDate, isDate } from "../format.ts";
import classes from "./bits.module.css";

type AnchorLinkProps = Omit<AnchorProps, "href"> & Omit<ComponentProps<"a">, keyof AnchorProps>;
const AnchorLink = (props: AnchorLinkProps) => <Anchor {...props} />;

/** A link within the pages. */
export const PageLink = createLink(AnchorLink);

const STATUS_WORDS: Record<RunInfo["status"], string> = {
  RUNNING: "Running",
  SCHEDULED: "Scheduled",
  FINISHED: "Finished",
  FAILED: "Failed",
  KILLED: "Stopped",
};

export function StatusDot({ status }: { status: RunInfo["status"] }) {
  return (
    <span
      role="img"
      className={classes.dot}
      data-status={status}
      aria-label={STATUS_WORDS[status]}
      title={STATUS_WORDS[status]}
    />
  );
}

export function StatusBadge({ status }: { status: RunInfo["status"] }) {
  const color = { RUNNING: "blue", SCHEDULED: "gray", FINISHED: "teal", FAILED: "red", KILLED: "orange" }[status];
  return (
    <Badge color={color} leftSection={<StatusDot status={status} />}>
      {STATUS_WORDS[status]}
    </Badge>
  );
}

export function StageBadge({ stage }: { stage: string }) {
  const color = { Production: "teal", Staging: "yellow", Archived: "gray", Deleted: "red" }[stage] ?? "gray";
  return (
    <Badge
      color={color}
      miw="max-content"
      variant={stage === "Production" ? "filled" : stage === "None" ? "outline" : "light"}
    >
      {stage === "None" ? "No stage" : stage}
    </Badge>
  );
}

/** A relative time, with the exact time on hover. */
export function When({ time }: { time: number }) {
  return (
    <time dateTime={isDate(time) ? new Date(time).toISOString() : undefined} title={formatDate(time)}>
      {formatAgo(time)}
    </time>
  );
}

/** Empty state: the reason and what to do. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <Stack gap={6} align="center" className={classes.empty}>
      <Text fw={600} fz="md">
        {title}
      </Text>
      <Text component="div" c="dimmed" fz="sm" ta="center" maw={520}>
        {children}
      </Text>
    </Stack>
  );
}

export function Failure({ error }: { error: Error }) {
  return (
    <Box role="alert" className={classes.failure}>
      {error.message}
    </Box>
  );
}

/** A bordered section with a heading. */
export function Section({
  title,
  aside,
  children,
  flush,
}: {
  title: ReactNode;
  aside?: ReactNode;
  children: ReactNode;
  flush?: boolean;
}) {
  return (
    <section className={classes.section}>
      <header className={classes.sectionHead}>
        <Title order={2} fz="sm">
          {title}
        </Title>
        {aside}
      </header>
      <div className={flush ? classes.flush : classes.body}>{children}</div>
    </section>
  );
}

/** Names and values, one pair per line. */
export function Facts({ rows }: { rows: (readonly [ReactNode, ReactNode] | null)[] }) {
  return (
    <dl className={classes.facts}>
      {rows.map((row, index) =>
        row === null ? null : (
          // biome-ignore lint/suspicious/noArrayIndexKey: the rows are fixed for their place
          <div key={index}>
            <dt>{row[0]}</dt>
            <dd>{row[1]}</dd>
          </div>
        ),
      )}
    </dl>
  );
}

/** Short text that is copied on click. */
export function Copyable({ text, shown }: { text: string; shown?: string }) {
  return (
    <CopyButton value={text}>
      {({ copied, copy }) => (
        <Tooltip label={copied ? "Copied" : "Copy"} openDelay={100}>
          <UnstyledButton onClick={copy} className={classes.copy}>
            <Code>{shown ?? text}</Code>
          </UnstyledButton>
        </Tooltip>
      )}
    </CopyButton>
  );
}
