import { Button, Group, Loader, Modal, Stack, Text, Textarea } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { CheckIcon } from "lucide-react";
import { useState } from "react";
import { useRefusal } from "../access.ts";
import { api, CARD_FIELDS, type Card, type CardField } from "../api.ts";
import { Failure, Section } from "../parts/bits.tsx";
import { Markdown } from "../parts/markdown.tsx";
import classes from "./models.module.css";

function Editor({ name, version, card, onClose }: { name: string; version: string; card: Card; onClose(): void }) {
  const client = useQueryClient();
  const [drafts, setDrafts] = useState<Partial<Record<CardField, string>>>({});
  const save = useMutation({
    mutationFn: () => api.saveCard(name, version, drafts),
    onSuccess: (saved) => {
      client.setQueryData(["model", name, "card", version], saved);
      onClose();
    },
  });
  return (
    <Modal opened onClose={onClose} title="What only a person can say" size="lg" centered>
      <Stack gap="sm">
        {CARD_FIELDS.map(({ field, title, ask }) => (
          <Textarea
            key={field}
            label={title}
            description={ask}
            autosize
            minRows={field === "license" || field === "contact" ? 1 : 3}
            maxRows={12}
            value={drafts[field] ?? card.statements[field]?.value ?? ""}
            onChange={(event) => setDrafts({ ...drafts, [field]: event.currentTarget.value })}
          />
        ))}
        <Text fz="xs" c="dimmed">
          Markdown is understood. Your name and the time are kept with what you write.
        </Text>
        {save.error && <Failure error={save.error} />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button disabled={Object.keys(drafts).length === 0} loading={save.isPending} onClick={() => save.mutate()}>
            Save card
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}

/** A version's model card and its missing sections. */
export function ModelCard({ name, version }: { name: string; version: string }) {
  const card = useQuery({ queryKey: ["model", name, "card", version], queryFn: () => api.card(name, version) });
  const [editing, setEditing] = useState(false);
  const refusal = useRefusal("PUT /api/anneal/model-versions/:name/:version/card", { model: name });
  if (card.error) return <Failure error={card.error} />;
  if (!card.data) return <Loader size="sm" />;
  const { missing, markdown } = card.data;
  const file = new Blob([markdown], { type: "text/markdown" });
  return (
    <div className={classes.cardColumns}>
      <Section
        title="Model card"
        aside={
          <Button
            variant="subtle"
            size="compact-xs"
            onClick={() => {
              const url = URL.createObjectURL(file);
              const link = document.createElement("a");
              link.href = url;
              link.download = "README.md";
              link.click();
              URL.revokeObjectURL(url);
            }}
          >
            Download README.md
          </Button>
        }
      >
        <div className={classes.card}>
          <Markdown text={markdown} />
        </div>
      </Section>
      <Section title="Written by people">
        <Text fz="sm" c="dimmed" mb="xs">
          {missing.length === 0
            ? "Nothing is missing from this card."
            : `Missing: ${missing.length} of ${CARD_FIELDS.length}. The rest of the card is written from what the run recorded.`}
        </Text>
        <ul className={classes.fields}>
          {CARD_FIELDS.map(({ field, title }) => (
            <li key={field} data-missing={missing.includes(field) || undefined}>
              <span className={classes.verdict}>{missing.includes(field) ? "!" : <CheckIcon size={14} />}</span>
              {title}
            </li>
          ))}
        </ul>
        <Button mt="sm" disabled={refusal !== undefined} title={refusal} onClick={() => setEditing(true)}>
          Edit card
        </Button>
      </Section>
      {editing && <Editor name={name} version={version} card={card.data} onClose={() => setEditing(false)} />}
    </div>
  );
}
