import DOMPurify from "dompurify";
import { marked } from "marked";
import { useMemo } from "react";
import classes from "./markdown.module.css";

/** Front matter is for the Hub, not for readers. */
const withoutFrontMatter = (text: string): string => text.replace(/^---\n[\s\S]*?\n---\n/, "");

/**
 * Renders Markdown. The source is untrusted, so the HTML is sanitized; links open in new windows.
 * A quote that begins with "Missing:" is marked as a gap.
 */
export function Markdown({ text }: { text: string }) {
  const html = useMemo(() => {
    const dirty = marked.parse(withoutFrontMatter(text), { async: false, gfm: true });
    const page = document.createElement("div");
    page.innerHTML = DOMPurify.sanitize(dirty, {
      FORBID_TAGS: ["style", "form", "input"],
      FORBID_ATTR: ["style"],
    });
    for (const quote of page.querySelectorAll("blockquote, td")) {
      if (quote.querySelector("strong")?.textContent === "Missing:") quote.setAttribute("data-missing", "");
    }
    for (const link of page.querySelectorAll("a[href]")) {
      link.setAttribute("target", "_blank");
      link.setAttribute("rel", "noreferrer");
    }
    for (const table of page.querySelectorAll("table")) {
      const head = table.querySelector("thead");
      if (head && head.textContent?.trim() === "") head.remove();
    }
    return page.innerHTML;
  }, [text]);
  // biome-ignore lint/security/noDangerouslySetInnerHtml: cleaned by DOMPurify just above
  return <div className={classes.markdown} dangerouslySetInnerHTML={{ __html: html }} />;
}
