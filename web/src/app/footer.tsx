interface FooterProps {
  version: string | undefined;
  demo: boolean;
}

export function Footer({ version, demo }: FooterProps) {
  return (
    <footer className="border-t border-line">
      <div className="page flex flex-wrap items-center justify-between gap-x-6 gap-y-2 py-5 text-xs text-ink-3">
        <p>
          GP4U {version ?? ""} · Apache-2.0{demo ? " · demo: simulated GPUs, sandbox money" : ""}
        </p>
        <nav aria-label="Footer" className="flex gap-4">
          <a className="underline-offset-4 hover:text-ink hover:underline" href="/docs">
            API reference
          </a>
          <a className="underline-offset-4 hover:text-ink hover:underline" href="/openapi.json">
            OpenAPI
          </a>
        </nav>
      </div>
    </footer>
  );
}
