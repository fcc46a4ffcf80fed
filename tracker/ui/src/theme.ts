import { createTheme, type MantineColorsTuple } from "@mantine/core";

const teal: MantineColorsTuple = [
  "#effcf9",
  "#d8f5ef",
  "#aee9de",
  "#7fd9cb",
  "#50c3b3",
  "#2aa897",
  "#16897b",
  "#0f7268",
  "#0c5c54",
  "#094a44",
];

export const theme = createTheme({
  primaryColor: "teal",
  primaryShade: { light: 7, dark: 6 },
  colors: { teal },
  fontFamily: "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif",
  fontFamilyMonospace: "ui-monospace, 'SF Mono', 'JetBrains Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace",
  fontSizes: { xs: "0.75rem", sm: "0.8125rem", md: "0.875rem", lg: "1rem", xl: "1.125rem" },
  headings: {
    fontWeight: "600",
    sizes: { h1: { fontSize: "1.25rem" }, h2: { fontSize: "1rem" }, h3: { fontSize: "0.875rem" } },
  },
  defaultRadius: "sm",
  cursorType: "pointer",
  components: {
    Button: { defaultProps: { size: "xs" } },
    TextInput: { defaultProps: { size: "xs" } },
    NumberInput: { defaultProps: { size: "xs" } },
    Select: { defaultProps: { size: "xs" } },
    Textarea: { defaultProps: { size: "xs" } },
    Switch: { defaultProps: { size: "xs" } },
    Checkbox: { defaultProps: { size: "xs" } },
    Badge: {
      defaultProps: { size: "sm", variant: "light", radius: "sm" },
      styles: { root: { textTransform: "none" as const, fontWeight: 500 } },
    },
    Tooltip: { defaultProps: { openDelay: 350, withArrow: true, fz: "xs" } },
    Modal: { styles: { title: { minWidth: 0, lineHeight: 1.4 } } },
    Table: { defaultProps: { verticalSpacing: 5, horizontalSpacing: "sm", fz: "sm" } },
  },
});

/** Series colours, distinguishable on light and dark backgrounds and with red-green colour blindness. */
export const PALETTE = [
  "#2a9d8f",
  "#e9783f",
  "#6a7fdb",
  "#d4a017",
  "#c2559d",
  "#5aa9e6",
  "#8a9a5b",
  "#b5524a",
  "#7c6f9f",
  "#4d908e",
];
