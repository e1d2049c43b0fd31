/** Which files of a folder travel with a job: the rules of `gp4u run`, for a folder that a browser was given. */
import ignore from "ignore";

/** What never travels, whatever the ignore file says. The list of gp4u/packing.py. */
export const ALWAYS_IGNORED = [".git/", "__pycache__/", ".venv/", "node_modules/", ".gp4u/", ".gp4uignore"];
export const IGNORE_FILE = ".gp4uignore";
export const JOB_FILES = ["job.yaml", "job.yml"];
/** The platform's limits: POST /uploads, and the agent that unpacks. */
export const UPLOAD_BYTES_MAX = 2 ** 30;
export const FILES_MAX = 100_000;
const IGNORE_BYTES_MAX = 1 << 20;

export interface FolderFile {
  /** Relative to the folder, with slashes. */
  path: string;
  file: File;
}

export interface Folder {
  name: string;
  files: readonly FolderFile[];
  /** How many the ignore rules left out. */
  ignored: number;
  bytes: number;
  jobFile: File | null;
}

/** Sorted as the command sorts, so that the same folder has the same bytes and is uploaded once. */
const byPath = (a: FolderFile, b: FolderFile) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0);

export function travelling(files: readonly FolderFile[], ignoreText: string): FolderFile[] {
  const rules = ignore({ allowRelativePaths: true }).add(ALWAYS_IGNORED).add(ignoreText);
  return files.filter(({ path }) => !rules.ignores(path)).toSorted(byPath);
}

export async function folderOf(name: string, all: readonly FolderFile[]): Promise<Folder> {
  const ignoreFile = all.find(({ path }) => path === IGNORE_FILE)?.file;
  const rules = ignoreFile && ignoreFile.size <= IGNORE_BYTES_MAX ? await ignoreFile.text() : "";
  const files = travelling(all, rules);
  return {
    name,
    files,
    ignored: all.length - files.length,
    bytes: files.reduce((sum, { file }) => sum + file.size, 0),
    jobFile: all.find(({ path }) => JOB_FILES.includes(path))?.file ?? null,
  };
}

/** Why this folder cannot be sent; null when it can. */
export function folderFault({ files, bytes, ignored }: Folder): string | null {
  if (files.length === 0) {
    return ignored > 0 ? "Everything in it is left out by the ignore rules." : "There are no files in it.";
  }
  if (files.length > FILES_MAX) {
    return `It holds more than ${FILES_MAX.toLocaleString("en-US")} files; list what is not needed in ${IGNORE_FILE}.`;
  }
  // A browser packs without compression; the headers of tar take a little more.
  if (bytes + files.length * 2048 > UPLOAD_BYTES_MAX) {
    return `It is larger than 1 GiB; list what is not needed in ${IGNORE_FILE}, or use gp4u run, which compresses.`;
  }
  return null;
}
