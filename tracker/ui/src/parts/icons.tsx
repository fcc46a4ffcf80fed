import type { ReactNode } from "react";

/** Small line drawings, in the colour of the text around them. */
function Icon({ children, size = 16 }: { children: ReactNode; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.4"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
      style={{ flex: "none" }}
    >
      {children}
    </svg>
  );
}

export const SearchIcon = () => (
  <Icon>
    <circle cx="7" cy="7" r="4.500" />
    <path d="m10.500 10.500 3.500 3.500" />
  </Icon>
);
export const SunIcon = () => (
  <Icon>
    <circle cx="8" cy="8" r="3" />
    <path d="M8 1v1.500M8 13.500V15M1 8h1.500M13.500 8H15M3 3l1.100 1.100M11.900 11.900 13 13M13 3l-1.100 1.100M4.100 11.900 3 13" />
  </Icon>
);
export const MoonIcon = () => (
  <Icon>
    <path d="M13.500 9.500A6 6 0 0 1 6.500 2.500a6 6 0 1 0 7 7Z" />
  </Icon>
);
export const FolderIcon = () => (
  <Icon size={14}>
    <path d="M1.500 4a1 1 0 0 1 1-1h3.300l1.500 1.700h6.200a1 1 0 0 1 1 1V12a1 1 0 0 1-1 1h-11a1 1 0 0 1-1-1Z" />
  </Icon>
);
export const FileIcon = () => (
  <Icon size={14}>
    <path d="M3.500 2a.500.500 0 0 1 .500-.500h5L12.500 5v9a.500.500 0 0 1-.500.500H4a.500.500 0 0 1-.500-.500ZM9 1.500V5h3.500" />
  </Icon>
);
export const ChevronIcon = ({ open }: { open: boolean }) => (
  <Icon size={12}>
    <path d={open ? "m3.500 6 4.500 4.500L12.500 6" : "m6 3.500 4.500 4.500L6 12.500"} />
  </Icon>
);
export const CheckIcon = () => (
  <Icon size={14}>
    <path d="m3 8.500 3.500 3.500L13 4.500" />
  </Icon>
);
export const CrossIcon = () => (
  <Icon size={14}>
    <path d="m4 4 8 8M12 4l-8 8" />
  </Icon>
);
export const DownloadIcon = () => (
  <Icon size={14}>
    <path d="M8 2v8m0 0L5 7m3 3 3-3M2.500 13.500h11" />
  </Icon>
);
export const ColumnsIcon = () => (
  <Icon size={14}>
    <path d="M2 2.500h12v11H2ZM6 2.500v11M10 2.500v11" />
  </Icon>
);
export const QuestionIcon = () => (
  <Icon size={14}>
    <circle cx="8" cy="8" r="6.500" />
    <path d="M6.200 6.200A1.900 1.900 0 1 1 8 8.300v.900M8 11.300v.100" />
  </Icon>
);
export const ExpandIcon = () => (
  <Icon size={14}>
    <path d="M9.500 2.500h4v4M6.500 13.500h-4v-4M13.500 2.500 9.300 6.700M2.500 13.500l4.200-4.200" />
  </Icon>
);
