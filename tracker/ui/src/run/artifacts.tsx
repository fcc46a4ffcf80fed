import { Anchor, Loader, Text, UnstyledButton } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { ChevronDownIcon, ChevronRightIcon, DownloadIcon, FileIcon, FolderIcon } from "lucide-react";
import { useState } from "react";
import { api, type FileInfo } from "../api.ts";
import { baseName, formatBytes } from "../format.ts";
import { Copyable, Empty, Failure } from "../parts/bits.tsx";
import { CodeBlock } from "../parts/code.tsx";
import { Markdown } from "../parts/markdown.tsx";
import { Notebook } from "./notebook.tsx";
import classes from "./run.module.css";

const IMAGE = /\.(png|jpe?g|gif|webp|svg)$/i;
const TEXT =
  /\.(txt|log|json|jsonl|ya?ml|csv|tsv|md|ts|tsx|js|mjs|py|sh|toml|ini|html|css|xml|jinja|lock|gitignore)$|(^|\/)(LICENSE|README|MLmodel|Dockerfile)$/i;
const COLOURED = /\.(ts|tsx|js|mjs|json|jsonl)$/i;
/** Larger texts are only offered for download. */
const MAX_PREVIEW = 2_000_000;

function Folder({
  runId,
  path,
  depth,
  chosen,
  onChoose,
}: {
  runId: string;
  path: string | undefined;
  depth: number;
  chosen: string | undefined;
  onChoose(file: FileInfo): void;
}) {
  const files = useQuery({ queryKey: ["artifacts", runId, path ?? ""], queryFn: () => api.files(runId, path) });
  if (files.error) return <Failure error={files.error} />;
  if (!files.data) return <Loader size="xs" m="xs" />;
  return (
    <ul className={classes.tree}>
      {files.data.map((file) => (
        <Entry key={file.path} runId={runId} file={file} depth={depth} chosen={chosen} onChoose={onChoose} />
      ))}
      {files.data.length === 0 && depth > 0 && (
        <Text component="li" fz="xs" c="dimmed" pl={depth * 14 + 26}>
          Empty
        </Text>
      )}
    </ul>
  );
}

function Entry({
  runId,
  file,
  depth,
  chosen,
  onChoose,
}: {
  runId: string;
  file: FileInfo;
  depth: number;
  chosen: string | undefined;
  onChoose(file: FileInfo): void;
}) {
  const [open, setOpen] = useState(file.is_dir && (chosen?.startsWith(`${file.path}/`) ?? false));
  const Chevron = open ? ChevronDownIcon : ChevronRightIcon;
  return (
    <li>
      <UnstyledButton
        className={classes.entry}
        style={{ paddingLeft: depth * 14 + 8 }}
        data-chosen={chosen === file.path || undefined}
        aria-expanded={file.is_dir ? open : undefined}
        onClick={() => (file.is_dir ? setOpen(!open) : onChoose(file))}
        title={file.path}
      >
        {file.is_dir ? <Chevron size={12} /> : <span style={{ width: 12 }} />}
        {file.is_dir ? <FolderIcon size={14} /> : <FileIcon size={14} />}
        <span className={classes.fileName}>{baseName(file.path)}</span>
        <span className={classes.fileSize}>{formatBytes(file.file_size)}</span>
      </UnstyledButton>
      {open && <Folder runId={runId} path={file.path} depth={depth + 1} chosen={chosen} onChoose={onChoose} />}
    </li>
  );
}

function pretty(path: string, text: string): string {
  if (!path.endsWith(".json")) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function TextPreview({ runId, path }: { runId: string; path: string }) {
  const text = useQuery({
    queryKey: ["artifacts", runId, "text", path],
    queryFn: () => api.text(runId, path, MAX_PREVIEW),
  });
  if (text.error) return <Failure error={text.error} />;
  if (text.data === undefined) return <Loader size="sm" m="md" />;
  if (path.endsWith(".ipynb")) return <Notebook text={text.data} />;
  if (path.endsWith(".md")) {
    return (
      <div className={classes.document}>
        <Markdown text={text.data} />
      </div>
    );
  }
  return <CodeBlock source={pretty(path, text.data)} plain={!COLOURED.test(path)} />;
}

function Preview({ runId, file }: { runId: string; file: FileInfo }) {
  const url = api.fileUrl(runId, file.path);
  const isText = TEXT.test(file.path) || file.path.endsWith(".ipynb");
  const tooLarge = (file.file_size ?? 0) > MAX_PREVIEW;
  return (
    <>
      <div className={classes.previewHead}>
        <Copyable text={file.path} />
        <Text fz="xs" c="dimmed">
          {formatBytes(file.file_size)}
        </Text>
        <Anchor href={url} download fz="sm" ml="auto" className={classes.download}>
          <DownloadIcon size={14} /> Download
        </Anchor>
      </div>
      <div className={classes.preview}>
        {IMAGE.test(file.path) ? (
          <img src={url} alt={file.path} className={classes.image} />
        ) : isText && !tooLarge ? (
          <TextPreview runId={runId} path={file.path} />
        ) : (
          <Empty title="No preview">
            {tooLarge ? "This file is too large to show here." : "This file is not text or an image."} Download it to
            look inside.
          </Empty>
        )}
      </div>
    </>
  );
}

/** A run's artifact tree with a preview of the selected file. */
export function ArtifactsTab({
  runId,
  chosen,
  onChoose,
}: {
  runId: string;
  chosen: string | undefined;
  onChoose(path: string): void;
}) {
  const top = useQuery({ queryKey: ["artifacts", runId, ""], queryFn: () => api.files(runId) });
  const [file, setFile] = useState<FileInfo>();
  const folder = chosen?.includes("/") ? chosen.slice(0, chosen.lastIndexOf("/")) : undefined;
  // A file that only the address names is found by listing its folder.
  const siblings = useQuery({
    queryKey: ["artifacts", runId, folder ?? ""],
    queryFn: () => api.files(runId, folder),
    enabled: chosen !== undefined,
  });
  const shown = file?.path === chosen ? file : siblings.data?.find(({ path }) => path === chosen);
  if (top.error) return <Failure error={top.error} />;
  if (top.data?.length === 0) {
    return (
      <Empty title="No artifacts">
        Checkpoints, the notebook as it ran, the lock file and the trained model appear here as the run stores them.
      </Empty>
    );
  }
  return (
    <div className={classes.artifacts}>
      <div className={classes.files}>
        <Folder
          runId={runId}
          path={undefined}
          depth={0}
          chosen={chosen}
          onChoose={(picked) => {
            setFile(picked);
            onChoose(picked.path);
          }}
        />
      </div>
      <div className={classes.pane}>
        {shown ? (
          <Preview key={shown.path} runId={runId} file={shown} />
        ) : (
          <Empty title="No file chosen">Choose one to look at it here.</Empty>
        )}
      </div>
    </div>
  );
}
