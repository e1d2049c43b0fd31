import { type RefObject, useEffect, useRef } from "react";
import UPlot from "uplot";
import "uplot/dist/uPlot.min.css";

/** The theme's value of a CSS variable, for a canvas, which knows no CSS. */
export const token = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The look that every axis shares. Read when the chart is built, so that it follows the theme. */
export const axisLook = (): UPlot.Axis => ({
  stroke: token("--ink-3"),
  font: `11px ${token("--type-sans")}`,
  grid: { stroke: token("--line"), width: 1 },
  ticks: { show: false },
});

/** Another kind of chart is built anew; otherwise new data is only drawn. */
interface Drawn {
  /** What the chart is of. */
  kind: string;
  heightPx: number;
  data: UPlot.AlignedData;
  options: () => Omit<UPlot.Options, "width" | "height">;
}

/**
 * A canvas chart in the element that the answer is the `ref` of: as wide as it, in the theme's colours, and drawn at every
 * render with what it was given.
 */
export function useUPlot({ kind, heightPx, data, options }: Drawn): RefObject<HTMLDivElement | null> {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot | null>(null);
  const shown = useRef({ data, options });
  shown.current = { data, options };

  // biome-ignore lint/correctness/useExhaustiveDependencies: another kind of chart has other options
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const build = () => {
      plot.current?.destroy();
      const size = { width: element.clientWidth, height: heightPx };
      plot.current = new UPlot({ ...size, ...shown.current.options() }, shown.current.data, element);
    };
    build();
    const resized = new ResizeObserver(() =>
      plot.current?.setSize({ width: element.clientWidth, height: heightPx }),
    );
    resized.observe(element);
    const themed = new MutationObserver(build);
    themed.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    return () => {
      resized.disconnect();
      themed.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [kind, heightPx]);

  useEffect(() => {
    plot.current?.setData(data);
  });
  return host;
}
