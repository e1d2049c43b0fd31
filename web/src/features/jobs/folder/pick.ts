/** Files as browsers hand them over: from a chooser, or dropped with whole folders among them. */
import { FILES_MAX, type FolderFile } from "./select";

export interface Picked {
  name: string;
  files: FolderFile[];
}

/** From `<input webkitdirectory>`: every path begins with the folder's own name. */
export function fromChooser(list: FileList): Picked {
  const files = [...list].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
  const name = files[0]?.path.includes("/") ? (files[0].path.split("/")[0] ?? "") : "";
  return {
    name: name || "files",
    files: files.map(({ path, file }) => ({ path: name ? path.slice(name.length + 1) : path, file })),
  };
}

const fileOf = (entry: FileSystemFileEntry): Promise<File> =>
  new Promise((resolve, reject) => entry.file(resolve, reject));

/** A reader gives at most a hundred entries at a time; an empty answer is the end. */
async function childrenOf(entry: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = entry.createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    );
    if (some.length === 0) return all;
    all.push(...some);
  }
}

const SKIPPED = new Set([".git", "__pycache__", ".venv", "node_modules", ".gp4u"]);

async function walk(entry: FileSystemEntry, path: string, into: FolderFile[]): Promise<void> {
  if (into.length > FILES_MAX) return;
  if (entry.isFile) into.push({ path, file: await fileOf(entry as FileSystemFileEntry) });
  else if (!SKIPPED.has(entry.name)) {
    for (const child of await childrenOf(entry as FileSystemDirectoryEntry)) {
      await walk(child, path ? `${path}/${child.name}` : child.name, into);
    }
  }
}

/** One folder that was dropped is the job's folder; several things lie in it side by side. */
export async function fromDrop(items: DataTransferItemList): Promise<Picked> {
  // The list is empty after the first await: take the entries out at once.
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const files: FolderFile[] = [];
  const [only] = entries;
  if (entries.length === 1 && only?.isDirectory) {
    await walk(only, "", files);
    return { name: only.name, files };
  }
  for (const entry of entries) await walk(entry, entry.name, files);
  return { name: entries.length === 1 && only ? only.name : `${entries.length} items`, files };
}
