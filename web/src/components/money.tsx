import { createContext, useContext } from "react";
import { cn } from "@/lib/class-names";
import { formatMoney } from "@/lib/money";

/** The platform's currency, provided once by the app. */
export const CurrencyContext = createContext("USD");

interface MoneyProps {
  micros: number;
  precision?: 2 | 4 | "rate" | "exact";
  sign?: boolean;
  className?: string;
}

export function Money({ micros, precision, sign, className }: MoneyProps) {
  const currency = useContext(CurrencyContext);
  return (
    <span className={cn("figures", className)}>
      {formatMoney(micros, currency, { ...(precision ? { precision } : {}), ...(sign ? { sign } : {}) })}
    </span>
  );
}

/** Money as text, for labels and sentences. */
export function useMoney(): (micros: number, precision?: 2 | 4 | "rate" | "exact") => string {
  const currency = useContext(CurrencyContext);
  return (micros, precision) => formatMoney(micros, currency, precision ? { precision } : {});
}
