import { ActionIcon, Box, Group, Text, Tooltip, useComputedColorScheme, useMantineColorScheme } from "@mantine/core";
import { createLink, Outlet, useLocation } from "@tanstack/react-router";
import icon from "./assets/icon.svg";
import { useLive } from "./live.ts";
import { MoonIcon, SunIcon } from "./parts/icons.tsx";
import classes from "./shell.module.css";

const NavLink = createLink("a");

/** What stands around every page: where to go, whether it is live, and the colours. */
export function Shell() {
  const live = useLive();
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme("light");
  const place = useLocation({ select: ({ pathname }) => /\/(models|settings)\b/.exec(pathname)?.[1] ?? "runs" });
  return (
    <Box className={classes.shell}>
      <header className={classes.bar}>
        <NavLink to="/" className={classes.brand} aria-label="Anneal, all runs">
          <img src={icon} alt="" width={22} height={22} />
          <span>Anneal</span>
        </NavLink>
        <nav className={classes.nav} aria-label="Main">
          <NavLink to="/" className={classes.link} data-current={place === "runs" || undefined}>
            Runs
          </NavLink>
          <NavLink to="/models" className={classes.link} data-current={place === "models" || undefined}>
            Models
          </NavLink>
          <NavLink to="/settings" className={classes.link} data-current={place === "settings" || undefined}>
            Settings
          </NavLink>
        </nav>
        <Group gap="xs" ml="auto" wrap="nowrap">
          <Tooltip label={live ? "Changes appear here as they happen" : "No connection; trying again"}>
            <Text
              component="span"
              fz="xs"
              c="dimmed"
              className={classes.live}
              data-live={live || undefined}
              role="status"
            >
              {live ? "Live" : "Offline"}
            </Text>
          </Tooltip>
          <Tooltip label={scheme === "dark" ? "Light colours" : "Dark colours"}>
            <ActionIcon
              variant="subtle"
              color="gray"
              aria-label={scheme === "dark" ? "Use light colours" : "Use dark colours"}
              onClick={() => setColorScheme(scheme === "dark" ? "light" : "dark")}
            >
              {scheme === "dark" ? <SunIcon /> : <MoonIcon />}
            </ActionIcon>
          </Tooltip>
        </Group>
      </header>
      <main className={classes.main}>
        <Outlet />
      </main>
    </Box>
  );
}
