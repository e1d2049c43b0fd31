import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { expect, it } from "vitest";
import { archiveOf, paxRecord } from "./archive";
import { folderFault, folderOf, travelling } from "./select";

const file = (path: string, content: string | Uint8Array<ArrayBuffer> = path) => ({
  path,
  file: new File([content], path.split("/").at(-1) ?? path),
});
const big = new Uint8Array(300_000).map((_, index) => index % 251);
const LONG = `${"a-long-folder/".repeat(9)}ünïcode.txt`;

async function unpacked(files: { path: string; file: File }[]): Promise<Record<string, string>> {
  const tar = zstdDecompressSync(Buffer.from(await archiveOf(files).arrayBuffer()));
  const folder = mkdtempSync(join(tmpdir(), "gp4u-web-"));
  try {
    writeFileSync(join(folder, "a.tar"), tar);
    execFileSync("tar", ["xf", "a.tar"], { cwd: folder });
    return Object.fromEntries(
      files.map(({ path }) => [
        path,
        execFileSync("sha256sum", [path], { cwd: folder }).toString().slice(0, 64),
      ]),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const digest = async (blob: Blob) => {
  const hash = await crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
  return Buffer.from(hash).toString("hex");
};

it("is read by zstd and tar: every byte, blocks longer than one, empty files, long and foreign names", async () => {
  const files = [file("train.py"), file("empty", ""), file("data/big.bin", big), file(LONG)];
  const found = await unpacked(files);
  for (const { path, file: original } of files) expect(found[path]).toBe(await digest(original));
});

it("makes the same bytes of the same folder, in whatever order and whenever it was given", async () => {
  const one = await folderOf("x", [file("b"), file("a/c"), file("a")]);
  const two = await folderOf("y", [file("a"), file("b"), file("a/c")]);
  expect(await digest(archiveOf(one.files))).toBe(await digest(archiveOf(two.files)));
});

it("counts a record's own length where it grows by a digit", () => {
  for (const length of [1, 85, 86, 87, 88, 89, 90, 985, 990, 995]) {
    const record = new TextDecoder().decode(paxRecord("path", "x".repeat(length)));
    expect(Number(record.split(" ")[0])).toBe(record.length);
  }
});

it("honours the ignore file and what never travels", async () => {
  const paths = [
    ".git/HEAD",
    "src/__pycache__/a.pyc",
    "node_modules/x/y",
    "train.py",
    "data/raw/a",
    "data/keep",
    "a.log",
  ];
  const sent = travelling(
    paths.map((path) => file(path)),
    "*.log\ndata/*\n!data/keep\n",
  );
  expect(sent.map(({ path }) => path)).toEqual(["data/keep", "train.py"]);
  const folder = await folderOf("x", [
    file("a.log"),
    file(".gp4uignore", "*.log"),
    file("job.yaml", "command: a"),
  ]);
  expect(folder).toMatchObject({ ignored: 2, files: [{ path: "job.yaml" }] });
  expect(folder.jobFile).not.toBeNull();
});

it("says why a folder cannot be sent", async () => {
  expect(folderFault(await folderOf("x", []))).toContain("no files");
  expect(folderFault(await folderOf("x", [file("a"), file(".gp4uignore", "*")]))).toContain("ignore rules");
  expect(folderFault(await folderOf("x", [file("a")]))).toBeNull();
  const folder = await folderOf("x", [file("a")]);
  expect(folderFault({ ...folder, bytes: 2 ** 30 })).toContain("1 GiB");
});
