import { Table, TextInput } from "@mantine/core";
import { useState } from "react";
import type { KeyValue } from "../api.ts";
import { Empty, Section } from "../parts/bits.tsx";
import classes from "./run.module.css";

function ParamTable({ title, params }: { title: string; params: KeyValue[] }) {
  if (params.length === 0) return null;
  return (
    <Section title={title} flush>
      <Table>
        <Table.Tbody>
          {params.map(({ key, value }) => (
            <Table.Tr key={key}>
              <Table.Td className={classes.name} w="45%">
                {key}
              </Table.Td>
              <Table.Td className={classes.value}>{value}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Section>
  );
}

/** Training and model parameters, side by side. */
export function Parameters({ params }: { params: KeyValue[] }) {
  const [nameFilter, setNameFilter] = useState("");
  if (params.length === 0) {
    return (
      <Empty title="No parameters">
        This run logged none. Training logs every hyperparameter by itself, those left at their defaults too.
      </Empty>
    );
  }
  const shown = params.filter(({ key, value }) => `${key} ${value}`.toLowerCase().includes(nameFilter.toLowerCase()));
  const ofModel = shown.filter(({ key }) => key.startsWith("model."));
  const others = shown.filter(({ key }) => !key.startsWith("model."));
  return (
    <>
      {params.length > 12 && (
        <TextInput
          aria-label="Find a parameter"
          placeholder="Find a parameter"
          value={nameFilter}
          onChange={(event) => setNameFilter(event.currentTarget.value)}
          maw={260}
          mb="sm"
        />
      )}
      <div className={classes.halves}>
        <ParamTable title="Hyperparameters" params={others} />
        <ParamTable title="Model configuration" params={ofModel} />
      </div>
      {shown.length === 0 && <Empty title="No parameter matches" />}
    </>
  );
}
