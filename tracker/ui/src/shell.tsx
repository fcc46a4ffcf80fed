import {
  ActionIcon,
  Box,
  Group,
  Menu,
  Text,
  Tooltip,
  UnstyledButton,
  useComputedColorScheme,
  useMantineColorScheme,
} from "@mantine/core";
import { createLink, Outlet, useLocation } from "@tanstack/react-router";
import { MoonIcon, SunIcon } from "lucide-react";
import { useMe } from "./access.ts";
import icon from "./assets/icon.svg";
import { useLive } from "./live.ts";
import classes from "./shell.module.css";

const NavLink = createLink("a");

/** The signed-in user and the sign-out button; the data folder's owner has no session. */
function Account() {
  const me = useMe().data;
  if (!me || me.owner) return null;
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <UnstyledButton className={classes.account} aria-label={`Signed in as ${me.name}`} title={me.name}>
          {me.name}
        </UnstyledButton>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>
          {me.name}, {me.role}
        </Menu.Label>
        <Menu.Item component="a" href="/auth/logout">
          Sign out
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

/** Page layout: navigation, connection status, theme and user. */
export function Shell() {
  const live = useLive();
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme("light");
  const place = useLocation({ select: ({ pathname }) => /\/(models|traces|settings)\b/.exec(pathname)?.[1] ?? "runs" });
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
          <NavLink to="/traces" className={classes.link} data-current={place === "traces" || undefined}>
            Traces
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
              <span>{live ? "Live" : "Offline"}</span>
            </Text>
          </Tooltip>
          <Tooltip label={scheme === "dark" ? "Light colours" : "Dark colours"}>
            <ActionIcon
              variant="subtle"
              color="gray"
              aria-label={scheme === "dark" ? "Use light colours" : "Use dark colours"}
              onClick={() => setColorScheme(scheme === "dark" ? "light" : "dark")}
            >
              {scheme === "dark" ? <SunIcon size={16} /> : <MoonIcon size={16} />}
            </ActionIcon>
          </Tooltip>
          <Account />
        </Group>
      </header>
      <main className={classes.main}>
        <Outlet />
      </main>
    </Box>
  );
}
