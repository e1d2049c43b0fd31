import { useEffect } from "react";

export function useTitle(title: string | null): void {
  useEffect(() => {
    document.title = title ? `${title} · GP4U` : "GP4U: rent GPUs, and jobs that go on";
  }, [title]);
}
