import { useInfiniteQuery } from "@tanstack/react-query";
import { Search, UserRound } from "lucide-react";
import { type FormEvent, useState } from "react";
import { Badge, type Tone } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Input } from "@/components/ui/field";
import { Empty, Failed, SkeletonRows, Stale } from "@/components/ui/states";
import { Table, Td, Th } from "@/components/ui/table";
import { formatDate } from "@/lib/time";
import { peopleQuery } from "./api";

const TONES: Record<string, Tone> = { admin: "bad", operator: "accent", owner: "good" };

interface PeopleTableProps {
  /** The address that is looked for; empty: everybody. */
  email: string;
  onLookFor: (email: string) => void;
}

export function PeopleTable({ email, onLookFor }: PeopleTableProps) {
  const people = useInfiniteQuery(peopleQuery(email));
  const [text, setText] = useState(email);
  const items = people.data?.pages.flatMap((page) => page.items) ?? [];
  const look = (event: FormEvent) => {
    event.preventDefault();
    onLookFor(text.trim());
  };
  return (
    <div className="grid gap-3">
      <form onSubmit={look} className="flex max-w-md gap-2" role="search" aria-label="Find an account">
        <Input
          type="search"
          inputMode="email"
          aria-label="E-mail, in full"
          placeholder="name@example.com"
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <Button type="submit">
          <Search aria-hidden /> Find
        </Button>
        {email ? (
          <Button
            variant="ghost"
            onClick={() => {
              setText("");
              onLookFor("");
            }}
          >
            Everybody
          </Button>
        ) : null}
      </form>
      {people.isError && people.data ? (
        <Stale error={people.error} onRetry={() => void people.refetch()} />
      ) : null}
      <Card className="overflow-hidden">
        {people.isPending ? (
          <SkeletonRows />
        ) : !people.data ? (
          <Failed error={people.error} onRetry={() => void people.refetch()} />
        ) : items.length === 0 ? (
          <Empty icon={UserRound} title="Nobody has this address">
            Addresses are compared in full; capitals don't matter.
          </Empty>
        ) : (
          <Table label="Accounts">
            <thead>
              <tr>
                <Th>Account</Th>
                <Th>Roles</Th>
                <Th className="hidden md:table-cell">Id</Th>
                <Th numeric>Since</Th>
              </tr>
            </thead>
            <tbody>
              {items.map((person) => (
                <tr key={person.id} data-person={person.email}>
                  <Td className="max-w-0 min-w-40 sm:w-2/5">
                    <span className="block truncate font-medium" title={person.name || person.email}>
                      {person.name || "–"}
                    </span>
                    <span className="block truncate text-xs text-ink-3" title={person.email}>
                      {person.email}
                    </span>
                  </Td>
                  <Td>
                    <span className="flex flex-wrap gap-1">
                      {person.roles.map((role) => (
                        <Badge key={role} tone={TONES[role] ?? "neutral"}>
                          {role}
                        </Badge>
                      ))}
                    </span>
                  </Td>
                  <Td className="hidden font-mono text-xs text-ink-2 md:table-cell">{person.id}</Td>
                  <Td numeric className="text-ink-2">
                    {formatDate(person.created_at)}
                  </Td>
                </tr>
              ))}
            </tbody>
          </Table>
        )}
      </Card>
      {people.hasNextPage ? (
        <div className="pt-1 text-center">
          <Button busy={people.isFetchingNextPage} onClick={() => void people.fetchNextPage()}>
            Load more
          </Button>
        </div>
      ) : null}
    </div>
  );
}
