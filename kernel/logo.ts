/** The kernel's logo: a glowing bar that cools, over the letters of the language. */
export const logo = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="64" height="64">
  <defs>
    <linearGradient id="heat" x1="0" x2="1">
      <stop offset="0" stop-color="#ffb347"/>
      <stop offset="0.5" stop-color="#f2542d"/>
      <stop offset="1" stop-color="#3178c6"/>
    </linearGradient>
  </defs>
  <rect x="2" y="2" width="60" height="60" rx="10" fill="#17202b"/>
  <path d="M10 46c8 0 9-30 17-30s7 22 13 22 5-10 14-10" fill="none" stroke="url(#heat)" stroke-width="5" stroke-linecap="round"/>
  <text x="54" y="57" text-anchor="end" font-family="Helvetica, Arial, sans-serif" font-size="13" font-weight="700" fill="#ffffff">TS</text>
</svg>
`;
