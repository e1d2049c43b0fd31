/**
 * A tar.zst made in the browser. The tar is that of gp4u/packing.py (no owners, no times, sorted); the zstd frame
 * (RFC 8878) holds raw blocks: valid for every reader, and made without a megabyte of WebAssembly.
 *
 * Nothing is read here: the archive is a list of parts that refer to the files, so a gigabyte costs no memory.
 */

const BLOCK = 512;
const ZSTD_BLOCK_MAX = 128 * 1024;
/** Magic number; no content size, no checksum; a window of 128 KiB. */
const ZSTD_HEADER = new Uint8Array([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38]);
const NAME_BYTES = 100;

export type Part = Uint8Array<ArrayBuffer> | Blob;

const text = new TextEncoder();
const sizeOf = (part: Part): number => (part instanceof Blob ? part.size : part.byteLength);
const zeros = (count: number) => new Uint8Array(count);
const padding = (size: number) => zeros((BLOCK - (size % BLOCK)) % BLOCK);

function header(name: Uint8Array, size: number, type: "0" | "x"): Uint8Array<ArrayBuffer> {
  const block = zeros(BLOCK);
  const put = (value: string, offset: number) => block.set(text.encode(value), offset);
  block.set(name.subarray(0, NAME_BYTES), 0);
  put("0000644\0", 100);
  put("0000000\0", 108);
  put("0000000\0", 116);
  put(`${size.toString(8).padStart(11, "0")}\0`, 124);
  put("00000000000\0", 136);
  put("        ", 148);
  put(type, 156);
  put("ustar\0" + "00", 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

/** A pax record says its own length, itself included. */
export function paxRecord(key: string, value: string): Uint8Array<ArrayBuffer> {
  const rest = text.encode(` ${key}=${value}\n`).byteLength;
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return text.encode(`${length} ${key}=${value}\n`);
}

const plain = /^[\x20-\x7e]*$/;

export function tarParts(files: readonly { path: string; file: Blob }[]): Part[] {
  const parts: Part[] = [];
  for (const { path, file } of files) {
    const name = text.encode(path);
    if (name.byteLength > NAME_BYTES || !plain.test(path)) {
      const record = paxRecord("path", path);
      parts.push(
        header(text.encode("././@PaxHeader"), record.byteLength, "x"),
        record,
        padding(record.byteLength),
      );
    }
    parts.push(header(name, file.size, "0"), file, padding(file.size));
  }
  parts.push(zeros(2 * BLOCK));
  return parts.filter((part) => sizeOf(part) > 0);
}

/** Cuts the parts into raw blocks of at most 128 KiB, each behind its three bytes of header. */
export function zstdParts(parts: readonly Part[]): Part[] {
  const total = parts.reduce((sum, part) => sum + sizeOf(part), 0);
  const framed: Part[] = [ZSTD_HEADER];
  let left = total;
  let room = 0;
  for (const part of parts) {
    let offset = 0;
    while (offset < sizeOf(part)) {
      if (room === 0) {
        room = Math.min(left, ZSTD_BLOCK_MAX);
        left -= room;
        const head = (room << 3) | (left === 0 ? 1 : 0);
        framed.push(new Uint8Array([head & 0xff, (head >> 8) & 0xff, (head >> 16) & 0xff]));
      }
      const take = Math.min(room, sizeOf(part) - offset);
      framed.push(
        part instanceof Blob ? part.slice(offset, offset + take) : part.slice(offset, offset + take),
      );
      offset += take;
      room -= take;
    }
  }
  return framed;
}

export const archiveOf = (files: readonly { path: string; file: Blob }[]): Blob =>
  new Blob(zstdParts(tarParts(files)));
