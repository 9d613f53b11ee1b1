// Reads a bundle (docs/bundle.md): a TFLite flatbuffer with a stored ZIP archive behind it.
//
// The ZIP part is read by hand and strictly, and nothing is used before its SHA-256 has been compared.

import { ModelFileError } from "./errors.js";

export const FORMAT = "attention-zoo bundle";
export const NEWEST_VERSION = 2;
export const SIGNATURE = "serving_default";

const MANIFEST = "manifest.json";
const MAX_FILE_BYTES = 2 ** 31 - 1;
const MAX_ENTRIES = 1024;
const MAX_ENTRY_BYTES = 256 * 2 ** 20;
const MAX_JSON_BYTES = 64 * 2 ** 20;
const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/;

/**
 * Read a bundle and check all of it: layout, names, sizes, digests.
 *
 * @param {Uint8Array} bytes The whole file.
 * @returns {Promise<Bundle>}
 * @throws {ModelFileError} If it is not ours, is damaged, or was made by a newer version.
 */
export async function readBundle(bytes) {
  if (!globalThis.crypto?.subtle) {
    throw new ModelFileError(
      "This browser checks files only on https:// pages and on localhost; open the page from there.",
    );
  }
  if (bytes.length > MAX_FILE_BYTES || latin(bytes, 4, 4) !== "TFL3") {
    throw new ModelFileError("The model is not a .tflite file; make the site again with 'zoo web'.");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { records, directory } = readDirectory(bytes, view);
  const manifest = readManifest(bytes, records[0]);
  checkLayout(bytes, view, records, directory, declared(manifest, "flatbuffer").length);
  const flatbuffer = bytes.subarray(0, records[0].offset);
  await checkDigest(flatbuffer, manifest.flatbuffer, "the model");
  const entries = new Map(records.slice(1).map((record) => [record.name, content(bytes, record)]));
  const names = Object.keys(manifest.entries);
  if (names.length !== entries.size || !names.every((name) => entries.has(name))) {
    throw damaged("its entries are not those of its manifest");
  }
  for (const [name, data] of entries) {
    await checkDigest(data, declared(manifest.entries, name), `entry '${name}'`);
  }
  return new Bundle(flatbuffer, manifest, entries);
}

/** A checked bundle: `flatbuffer` (bytes), `manifest` (object), `entries` (name -> bytes). */
export class Bundle {
  constructor(flatbuffer, manifest, entries) {
    Object.assign(this, { flatbuffer, manifest, entries });
  }

  /** The bytes of an entry. */
  bytes(name) {
    if (!this.entries.has(name)) throw damaged(`it has no entry '${name}'`);
    return this.entries.get(name);
  }

  /** The text of an entry, which is UTF-8. */
  text(name) {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.bytes(name));
    } catch (error) {
      if (error instanceof ModelFileError) throw error;
      throw damaged(`entry '${name}' is not UTF-8`);
    }
  }

  /** The value of a JSON entry. */
  json(name) {
    return parse(this.text(name), name);
  }

  /** The lines of `vocab.txt`; only "\n" ends a line. */
  vocabulary() {
    return this.text("preprocessor/vocab.txt").replace(/\n$/, "").split("\n");
  }
}

function readDirectory(bytes, view) {
  const end = bytes.length - 22;
  if (end < 0 || view.getUint32(end, true) !== END) {
    throw new ModelFileError("The model carries no bundle, or was cut short; export it again with 'zoo export'.");
  }
  const count = view.getUint16(end + 10, true);
  const length = view.getUint32(end + 12, true);
  const directory = view.getUint32(end + 16, true);
  const odd = view.getUint16(end + 4, true) || view.getUint16(end + 6, true) || view.getUint16(end + 20, true);
  if (odd || view.getUint16(end + 8, true) !== count || directory + length !== end) {
    throw damaged("its end record is inconsistent");
  }
  if (count < 1 || count > MAX_ENTRIES) throw damaged(`it has ${count} entries`);
  const records = [];
  let at = directory;
  for (let i = 0; i < count; i++) {
    if (at + 46 > end || view.getUint32(at, true) !== CENTRAL) throw damaged("its directory is inconsistent");
    const named = view.getUint16(at + 28, true);
    if (view.getUint16(at + 30, true) || view.getUint16(at + 32, true) || view.getUint16(at + 34, true)) {
      throw damaged("an entry carries extra fields");
    }
    if (at + 46 + named > end) throw damaged("its directory is inconsistent");
    records.push({
      flags: view.getUint16(at + 8, true),
      method: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
      packed: view.getUint32(at + 20, true),
      size: view.getUint32(at + 24, true),
      offset: view.getUint32(at + 42, true),
      name: latin(bytes, at + 46, named),
    });
    at += 46 + named;
  }
  if (at !== end) throw damaged("its directory is inconsistent");
  return { records, directory };
}

function readManifest(bytes, record) {
  if (record.name !== MANIFEST || record.method || record.packed !== record.size || record.size > MAX_JSON_BYTES) {
    throw damaged(`its first entry is no plain ${MANIFEST}`);
  }
  const data = content(bytes, record);
  if (data.length !== record.size || crc32(data) !== record.crc) {
    throw damaged(`${MANIFEST} does not match its checksum`);
  }
  const manifest = parse(new TextDecoder().decode(data), MANIFEST);
  if (manifest?.format !== FORMAT) throw damaged("its manifest is of another tool");
  if (!Number.isInteger(manifest.format_version) || manifest.format_version < 1) {
    throw damaged("its format_version is not a number");
  }
  if (manifest.format_version > NEWEST_VERSION) {
    throw new ModelFileError(
      `The model was made by a newer version (bundle format ${manifest.format_version}, this page reads up to ` +
        `${NEWEST_VERSION}); make the site again with that version's 'zoo web'.`,
    );
  }
  for (const key of ["name", "task", "quantize"]) {
    if (typeof manifest[key] !== "string") throw damaged(`its manifest has no '${key}'`);
  }
  if (typeof manifest.entries !== "object" || manifest.entries === null) {
    throw damaged("its manifest has no 'entries'");
  }
  return manifest;
}

/** The entries are stored, well named, and fill the file between model and directory without gaps. */
function checkLayout(bytes, view, records, directory, start) {
  const seen = new Set();
  for (const { name, flags, method, crc, packed, size, offset } of records) {
    if (!NAME.test(name) || name.length > 255 || seen.has(name)) throw damaged("an entry's name is not allowed");
    seen.add(name);
    if (flags || method || packed !== size || size > MAX_ENTRY_BYTES) {
      throw damaged(`entry '${name}' is compressed, encrypted or too large`);
    }
    const head = 30 + name.length;
    if (offset !== start || start + head + size > directory) {
      throw damaged(`entry '${name}' does not lie where it should`);
    }
    const same =
      view.getUint32(start, true) === LOCAL &&
      view.getUint16(start + 6, true) === 0 &&
      view.getUint16(start + 8, true) === 0 &&
      view.getUint32(start + 14, true) === crc &&
      view.getUint32(start + 18, true) === size &&
      view.getUint32(start + 22, true) === size &&
      view.getUint16(start + 26, true) === name.length &&
      view.getUint16(start + 28, true) === 0 &&
      latin(bytes, start + 30, name.length) === name;
    if (!same) throw damaged(`the header of entry '${name}' does not match the directory`);
    start += head + size;
  }
  if (start !== directory) throw damaged("there are bytes between its entries");
}

function declared(table, key) {
  const item = Object.hasOwn(table, key) ? table[key] : undefined;
  if (!Number.isInteger(item?.length) || item.length < 0 || typeof item.sha256 !== "string") {
    throw damaged(`its manifest gives no length for '${key}'`);
  }
  return item;
}

async function checkDigest(data, { length, sha256 }, what) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (data.length !== length || hex !== sha256) throw damaged(`${what} does not match its SHA-256`);
}

function content(bytes, { name, offset, size }) {
  return bytes.subarray(offset + 30 + name.length, offset + 30 + name.length + size);
}

function latin(bytes, start, length) {
  return String.fromCharCode(...bytes.subarray(start, start + length));
}

function parse(text, name) {
  try {
    return JSON.parse(text);
  } catch {
    throw damaged(`${name} cannot be read`);
  }
}

function crc32(data) {
  let crc = ~0;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

function damaged(why) {
  return new ModelFileError(`The model is damaged or was tampered with: ${why}; copy or export it again.`);
}
