import { Code, Loader, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { api, type RegisteredModel } from "../api.ts";
import { Empty, Failure, PageLink, Section, When } from "../parts/bits.tsx";
import shell from "../shell.module.css";
import classes from "./models.module.css";

function VersionLink({ model, version }: { model: RegisteredModel; version: string | undefined }) {
  if (version === undefined) {
    return (
      <Text span c="dimmed" fz="sm">
        none
      </Text>
    );
  }
  return (
    <PageLink to="/models/$name/versions/$version" params={{ name: model.name, version }} fz="sm">
      Version {version}
    </PageLink>
  );
}

/** All registered models. */
export function ModelsPage() {
  const models = useQuery({ queryKey: ["models"], queryFn: api.models });
  if (models.error) {
    return (
      <div className={shell.page}>
        <Failure error={models.error} />
      </div>
    );
  }
  if (!models.data) return <Loader m="lg" size="sm" />;
  return (
    <div className={shell.page}>
      <div className={shell.head}>
        <h1 className={shell.title}>Models</h1>
        <Text fz="xs" c="dimmed">
          {models.data.length === 0 ? "" : `${models.data.length} registered`}
        </Text>
      </div>
      {models.data.length === 0 ? (
        <Empty title="No registered models yet">
          Register the model of a run from a notebook with <Code>{'registerModel("my-model")'}</Code>, or with any
          MLflow client. Here its versions get their model cards, gates and stages.
        </Empty>
      ) : (
        <Section title="Registered models" flush>
          <Table highlightOnHover className={classes.models}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>Name</Table.Th>
                <Table.Th>In Production</Table.Th>
                <Table.Th>Latest version</Table.Th>
                <Table.Th>Changed</Table.Th>
                <Table.Th>Description</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {models.data.map((model) => {
                const versions = model.latest_versions ?? [];
                const newest = versions.reduce<number>((most, { version }) => Math.max(most, Number(version)), 0);
                const production = versions.find(({ current_stage }) => current_stage === "Production")?.version;
                return (
                  <Table.Tr key={model.name}>
                    <Table.Td className={classes.modelName}>
                      <PageLink to="/models/$name" params={{ name: model.name }} fz="sm" fw={550} title={model.name}>
                        {model.name}
                      </PageLink>
                    </Table.Td>
                    <Table.Td>
                      <VersionLink model={model} version={production} />
                    </Table.Td>
                    <Table.Td>
                      <VersionLink model={model} version={newest === 0 ? undefined : String(newest)} />
                    </Table.Td>
                    <Table.Td>
                      <When time={model.last_updated_timestamp} />
                    </Table.Td>
                    <Table.Td className={classes.description}>{model.description}</Table.Td>
                  </Table.Tr>
                );
              })}
            </Table.Tbody>
          </Table>
        </Section>
      )}
    </div>
  );
}
