const escaped = (text: string): string => text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);

/**
 * Returns the HTML of the sign-in page.
 * @param options.back the requested address
 * @param options.provider the identity provider's name, if there is one
 */
export function loginPage({
  wrong,
  back,
  provider,
}: {
  wrong: boolean;
  back: string;
  provider: string | undefined;
}): string {
  const signIn =
    provider === undefined
      ? ""
      : `<p><a class="button" href="/auth/login?back=${encodeURIComponent(back)}">Sign in with ${escaped(provider)}</a></p><p class="or">or with a token</p>`;
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Anneal</title><style>
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:18vh auto;padding:0 1rem}
input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem;margin:.5rem 0 1rem}button,.button{font:inherit;padding:.4rem 1.2rem}
.button{display:inline-block;border:1px solid;border-radius:.3rem;color:inherit;text-decoration:none}.or{opacity:.7}
p.wrong{color:#c33}</style><h1>Anneal</h1>${wrong ? '<p class="wrong">That token is invalid or has expired.</p>' : ""}
${signIn}<form method="get"><label>Token<input name="token" type="password" autofocus autocomplete="current-password"></label>
<button>Open</button></form><p>The address that the server printed at its start contains the token. On a team's tracker, ask an
admin for one.</p></html>`;
}
