/* zoo_edge: answers from a .tflite bundle of attention-zoo (docs/bundle.md), in C99 on LiteRT's shared library.
 *
 *   zoo_edge FILE.tflite self-test                         runs the golden cases inside the file
 *   zoo_edge FILE.tflite caption HEIGHTxWIDTH [--json]     stdin: RGB bytes, row by row
 *   zoo_edge FILE.tflite window                            stdin: float32, step by step
 *   zoo_edge FILE.tflite tokens                            stdin: int32 ids of vocab.txt, padded with 0
 *
 * Numbers are little-endian. Exit codes: 0 done; 1 the file or the input cannot be used, one line on stderr says why;
 * 2 bad usage. LiteRT crashes on a damaged model, so every byte of the file is checked against the lengths and SHA-256
 * of its manifest before LiteRT sees one. That finds damage; it does not make a stranger's model safe to run. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <link.h>
#endif

/* ---- LiteRT 2.3: its wheel has the library but no headers. Makefile and right_library() keep to this version. ---- */

typedef struct LiteRtEnvironmentT *LiteRtEnvironment;
typedef struct LiteRtModelT *LiteRtModel;
typedef struct LiteRtOptionsT *LiteRtOptions;
typedef struct LiteRtCompiledModelT *LiteRtCompiledModel;
typedef struct LiteRtTensorBufferT *LiteRtTensorBuffer;
typedef struct LiteRtSignatureT *LiteRtSignature;
typedef struct LiteRtTensorT *LiteRtTensor;
typedef int LiteRtStatus; /* 0 is success */
typedef struct {
  int32_t element_type; /* F32, I32, U8, ... */
  unsigned rank : 7, has_strides : 1;
  int32_t dimensions[8];
  uint32_t strides[8];
} LiteRtRankedTensorType;
typedef struct {
  int32_t tag, padding, type, more_padding;
  int64_t value;
} LiteRtEnvOption;
enum { F32 = 1, I32 = 2, U8 = 3, ON_CPU = 1 };
static const char *const TYPES[] = {"", "float32", "int32", "uint8"};
enum { OPTION_ACCELERATORS = 24, OPTION_LOG_SEVERITY = 25, INTEGER = 2, ERRORS_ONLY = 3 };
typedef char type_is_72_bytes[sizeof(LiteRtRankedTensorType) == 72 ? 1 : -1];
typedef char option_is_24_bytes[sizeof(LiteRtEnvOption) == 24 ? 1 : -1];

LiteRtStatus LiteRtCreateEnvironment(int, const LiteRtEnvOption *, LiteRtEnvironment *);
LiteRtStatus LiteRtCreateModelFromBuffer(LiteRtEnvironment, const void *, size_t, LiteRtModel *);
LiteRtStatus LiteRtGetNumModelSignatures(LiteRtModel, size_t *);
LiteRtStatus LiteRtGetModelSignature(LiteRtModel, size_t, LiteRtSignature *);
LiteRtStatus LiteRtGetSignatureKey(LiteRtSignature, const char **);
LiteRtStatus LiteRtGetNumSignatureInputs(LiteRtSignature, size_t *);
LiteRtStatus LiteRtGetNumSignatureOutputs(LiteRtSignature, size_t *);
LiteRtStatus LiteRtGetSignatureInputName(LiteRtSignature, size_t, const char **);
LiteRtStatus LiteRtGetSignatureOutputName(LiteRtSignature, size_t, const char **);
LiteRtStatus LiteRtGetSignatureInputTensorByIndex(LiteRtSignature, size_t, LiteRtTensor *);
LiteRtStatus LiteRtGetSignatureOutputTensorByIndex(LiteRtSignature, size_t, LiteRtTensor *);
LiteRtStatus LiteRtGetRankedTensorType(LiteRtTensor, LiteRtRankedTensorType *);
LiteRtStatus LiteRtCreateOptions(LiteRtOptions *);
LiteRtStatus LiteRtSetOptionsHardwareAccelerators(LiteRtOptions, int);
LiteRtStatus LiteRtCreateCompiledModel(LiteRtEnvironment, LiteRtModel, LiteRtOptions, LiteRtCompiledModel *);
LiteRtStatus LiteRtCreateTensorBufferFromHostMemory(const LiteRtRankedTensorType *, void *, size_t, void (*)(void *),
                                                    LiteRtTensorBuffer *);
LiteRtStatus LiteRtRunCompiledModel(LiteRtCompiledModel, size_t, size_t, LiteRtTensorBuffer *, size_t,
                                    LiteRtTensorBuffer *);
void LiteRtDestroyTensorBuffer(LiteRtTensorBuffer);
void LiteRtDestroyCompiledModel(LiteRtCompiledModel);
void LiteRtDestroyOptions(LiteRtOptions);
void LiteRtDestroyModel(LiteRtModel);
void LiteRtDestroyEnvironment(LiteRtEnvironment);

/* ---- Everything that is held; release() frees it, whatever went wrong and when. ---- */

enum { NEWEST_FORMAT = 2, MAX_ENTRIES = 1024, MAX_ENTRY = 256 << 20, MAX_JSON = 4 << 20 };
enum { MAX_TOKENS = 1000000, MAX_TOKEN = 4 * 256, MAX_DEPTH = 16, MAX_TENSORS = 16, MAX_NAME = 255 };
enum { MIN_FILE = 30, END_BYTES = 22, CENTRAL_BYTES = 46, LOCAL_BYTES = 30 };
static const size_t MAX_FILE = 0x7fffffff;

typedef struct {
  char name[MAX_NAME + 1];
  size_t way, crc, packed, size, offset; /* way: flags and method, 0 for stored */
  const unsigned char *content;
  bool declared;
} Entry;

typedef struct {
  const char *name;
  LiteRtRankedTensorType type;
  LiteRtTensorBuffer buffer;
  size_t bytes;
  void *data; /* C order, aligned to 64 bytes */
} Tensor;

typedef struct {
  const char *path;
  char error[512];
  unsigned char *file;
  size_t size, model_size, entry_count, token_count;
  Entry *entries;
  char *manifest, *preprocessor, *golden, *vocabulary;
  const char *signatures; /* in the manifest */
  const char **tokens;
  LiteRtEnvironment environment;
  LiteRtModel model;
  LiteRtOptions options;
  LiteRtCompiledModel compiled;
  size_t signature, input_count, output_count;
  Tensor inputs[MAX_TENSORS], outputs[MAX_TENSORS];
} Zoo;

#ifdef __GNUC__
__attribute__((format(printf, 2, 3)))
#endif
static bool fail(Zoo *zoo, const char *format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(zoo->error, sizeof zoo->error, format, values);
  va_end(values);
  return false;
}

static bool damaged(Zoo *zoo, const char *why) {
  return fail(zoo, "'%.200s' is damaged or was tampered with: %s; copy or export it again.", zoo->path, why);
}

static bool foreign(Zoo *zoo) {
  return fail(zoo, "'%.200s' was cut short, or another tool made it: it carries no bundle; give a whole file made by "
                   "'zoo export'.", zoo->path);
}

static bool no_memory(Zoo *zoo) { return fail(zoo, "There is not enough memory for '%.200s'.", zoo->path); }

static void release(Zoo *zoo) {
  void *memory[] = {zoo->tokens, zoo->vocabulary, zoo->golden, zoo->preprocessor, zoo->manifest, zoo->entries};
  for (size_t i = 0; i < 2 * MAX_TENSORS; i++) {
    Tensor *tensor = i < MAX_TENSORS ? &zoo->inputs[i] : &zoo->outputs[i - MAX_TENSORS];
    if (tensor->buffer) LiteRtDestroyTensorBuffer(tensor->buffer);
    free(tensor->data);
  }
  if (zoo->compiled) LiteRtDestroyCompiledModel(zoo->compiled);
  if (zoo->options) LiteRtDestroyOptions(zoo->options);
  if (zoo->model) LiteRtDestroyModel(zoo->model);
  if (zoo->environment) LiteRtDestroyEnvironment(zoo->environment);
  for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) free(memory[i]);
  free(zoo->file); /* last: the model lies in it */
}

/* ---- Checksums ---- */

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha256_block(uint32_t state[8], const unsigned char *block) {
  static const uint32_t K[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
      0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
      0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
      0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
      0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
      0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  uint32_t w[64], s[8];
  memcpy(s, state, sizeof s);
  for (int i = 0; i < 64; i++, block += 4) {
    if (i < 16) w[i] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 | block[3];
    else w[i] = w[i - 16] + (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
                (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10);
    uint32_t one = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) +
                   K[i] + w[i];
    uint32_t two = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) +
                   ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    memmove(s + 1, s, 7 * sizeof *s);
    s[4] += one;
    s[0] = one + two;
  }
  for (int i = 0; i < 8; i++) state[i] += s[i];
}

/* Writes the SHA-256 (FIPS 180-4) of the data as 64 lower-case hexadecimal digits. */
static void sha256(const unsigned char *data, size_t size, char hex[65]) {
  uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  unsigned char tail[128] = {0};
  size_t rest = size % 64, padded = rest < 56 ? 64 : 128;
  for (size_t i = 0; i < size - rest; i += 64) sha256_block(state, data + i);
  if (rest) memcpy(tail, data + (size - rest), rest);
  tail[rest] = 0x80;
  for (size_t i = 0; i < 8; i++) tail[padded - 1 - i] = (unsigned char)((uint64_t)size * 8 >> 8 * i);
  for (size_t i = 0; i < padded; i += 64) sha256_block(state, tail + i);
  for (int i = 0; i < 8; i++) snprintf(hex + 8 * i, 9, "%08x", (unsigned)state[i]);
}

static uint32_t crc32(const unsigned char *data, size_t size) {
  uint32_t crc = 0xffffffff;
  for (size_t i = 0; i < 8 * size; i++) {
    if (i % 8 == 0) crc ^= data[i / 8];
    crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc;
}

/* ---- JSON (RFC 8259): a document is checked once, whole, to a bounded depth; then a value is a pointer into it. */

/* Whether the bytes are UTF-8 (RFC 3629) without NUL. */
static bool is_utf8(const unsigned char *at, size_t size) {
  for (const unsigned char *end = at + size; at < end;) {
    unsigned char c = *at++, low = 0x80, high = 0xbf;
    int more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : -1;
    if (!c || more < 0 || end - at < more) return false;
    if (c == 0xe0) low = 0xa0; /* neither overlong nor a surrogate nor above U+10FFFF */
    if (c == 0xed) high = 0x9f;
    if (c == 0xf0) low = 0x90;
    if (c == 0xf4) high = 0x8f;
    for (; more; more--, at++, low = 0x80, high = 0xbf)
      if (*at < low || *at > high) return false;
  }
  return true;
}

static const char *skip_space(const char *at) { return at + strspn(at, " \t\r\n"); }

static const char *skip_digits(const char *at) {
  size_t digits = strspn(at, "0123456789");
  return digits ? at + digits : NULL;
}

static const char *skip_text(const char *at) {
  if (*at != '"') return NULL;
  while (*++at != '"') {
    if ((unsigned char)*at < 0x20) return NULL; /* or the end */
    if (*at != '\\') continue;
    at++;
    if (*at == 'u' ? strspn(at + 1, "0123456789abcdefABCDEF") < 4 : !*at || !strchr("\"\\/bfnrt", *at)) return NULL;
  }
  return at + 1;
}

/* Returns what follows the value, or NULL if it is not JSON. */
static const char *skip_value(const char *at, int depth) {
  static const char *const words[] = {"true", "false", "null"};
  if (*at == '"') return skip_text(at);
  for (int i = 0; i < 3; i++)
    if (!strncmp(at, words[i], strlen(words[i]))) return at + strlen(words[i]);
  if (*at != '{' && *at != '[') { /* a number */
    at += *at == '-';
    at = *at == '0' ? at + 1 : skip_digits(at);
    if (at && *at == '.') at = skip_digits(at + 1);
    if (at && (*at == 'e' || *at == 'E')) at = skip_digits(at + 1 + (at[1] == '+' || at[1] == '-'));
    return at;
  }
  char open = *at, close = open == '{' ? '}' : ']';
  at = skip_space(at + 1);
  if (depth == MAX_DEPTH || *at == close) return depth == MAX_DEPTH ? NULL : at + 1;
  for (;; at = skip_space(at + 1)) {
    if (open == '{') {
      if (!(at = skip_text(at)) || *(at = skip_space(at)) != ':') return NULL;
      at = skip_space(at + 1);
    }
    if (!(at = skip_value(at, depth + 1))) return NULL;
    at = skip_space(at);
    if (*at == close) return at + 1;
    if (*at != ',') return NULL;
  }
}

static const char *value_of(const char *key) { return skip_space(skip_space(skip_text(key)) + 1); }

/* Returns the item of an array, or the key of an object, that follows `item` (NULL: the first), or NULL. */
static const char *next_item(const char *container, const char *item) {
  const char *at = skip_space(item ? skip_value(*container == '{' ? value_of(item) : item, 0) : container + 1);
  if (item && *at != ',') return NULL;
  if (item) at = skip_space(at + 1);
  return *at == '}' || *at == ']' ? NULL : at;
}

static size_t count_items(const char *container) {
  size_t count = 0;
  if (!container || (*container != '[' && *container != '{')) return 0;
  for (const char *item = next_item(container, NULL); item; item = next_item(container, item)) count++;
  return count;
}

/* Whether the value is this text; one that needs escapes is never what is looked for here. */
static bool is_text(const char *value, const char *text) {
  size_t size = strlen(text);
  return value && *value == '"' && !strncmp(value + 1, text, size) && value[1 + size] == '"';
}

/* Returns the value of an object's key, or NULL: there is no object, no such key, or it is repeated. */
static const char *member(const char *object, const char *key) {
  const char *found = NULL;
  if (!object || *object != '{') return NULL;
  for (const char *item = next_item(object, NULL); item; item = next_item(object, item)) {
    if (is_text(item, key) && found) return NULL;
    if (is_text(item, key)) found = value_of(item);
  }
  return found;
}

/* Returns a whole number from 0 to 2^31 - 1, or -1 for anything else. */
static long whole(const char *value) {
  const char *end = value ? skip_digits(value) : NULL;
  if (!end || end - value > 10 || *end == '.' || *end == 'e' || *end == 'E') return -1;
  long long number = strtoll(value, NULL, 10);
  return number > 0x7fffffff ? -1 : (long)number;
}

/* ---- The bundle ---- */

static size_t number_at(const unsigned char *at, int bytes) {
  size_t value = 0;
  while (bytes--) value = value << 8 | at[bytes];
  return value;
}

/* Whether a name is [A-Za-z0-9_-][A-Za-z0-9._-]* between single slashes. */
static bool good_name(const unsigned char *name, size_t size) {
  bool first = true;
  for (size_t i = 0; i < size; i++) {
    unsigned char c = name[i];
    bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    if (!letter && (first || (c != '.' && c != '/'))) return false;
    first = c == '/';
  }
  return size <= MAX_NAME && !first;
}

static bool read_file(Zoo *zoo) {
  struct stat found;
  void *memory = NULL;
  size_t done = 0;
  int file = open(zoo->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a named pipe must not wait for its writer */
  if (file < 0 || fstat(file, &found) || !S_ISREG(found.st_mode)) {
    fail(zoo, "'%.200s' is not a file that can be read; give a .tflite file.", zoo->path);
  } else if (found.st_size < MIN_FILE || (uint64_t)found.st_size > MAX_FILE) {
    fail(zoo, "'%.200s' has %lld bytes; a .tflite file has 30 to %zu.", zoo->path, (long long)found.st_size, MAX_FILE);
  } else if (posix_memalign(&memory, 64, (size_t)found.st_size)) { /* LiteRT reads weights in place, aligned */
    no_memory(zoo);
  } else {
    zoo->file = memory;
    zoo->size = (size_t)found.st_size;
    for (ssize_t got = 1; done < zoo->size && got > 0; done += got > 0 ? (size_t)got : 0)
      got = read(file, zoo->file + done, zoo->size - done);
    if (done < zoo->size) fail(zoo, "'%.200s' cannot be read to its end.", zoo->path);
  }
  if (file >= 0) close(file);
  return zoo->size && done == zoo->size;
}

/* Fills zoo->entries from the ZIP directory, without looking at what they say; returns the directory's offset, or 0. */
static size_t read_directory(Zoo *zoo) {
  const unsigned char *end = zoo->file + zoo->size - END_BYTES;
  if (memcmp(end, "PK\5\6", 4)) return foreign(zoo);
  size_t count = number_at(end + 10, 2), length = number_at(end + 12, 4), directory = number_at(end + 16, 4);
  if (number_at(end + 4, 4) || number_at(end + 8, 2) != count || number_at(end + 20, 2) || !count ||
      count > MAX_ENTRIES || (uint64_t)directory + length + END_BYTES != zoo->size)
    return damaged(zoo, "its end record is inconsistent");
  zoo->entries = calloc(count, sizeof *zoo->entries);
  if (!zoo->entries) return no_memory(zoo);
  size_t left = length;
  for (size_t i = 0; i < count; i++) {
    const unsigned char *record = zoo->file + directory + (length - left);
    Entry *entry = &zoo->entries[i];
    size_t name = left < CENTRAL_BYTES ? left : number_at(record + 28, 2);
    if (left < CENTRAL_BYTES + name || memcmp(record, "PK\1\2", 4) || number_at(record + 30, 6))
      return damaged(zoo, "its directory is inconsistent or has extra fields");
    if (!good_name(record + CENTRAL_BYTES, name)) return damaged(zoo, "an entry's name is not allowed");
    memcpy(entry->name, record + CENTRAL_BYTES, name);
    entry->way = number_at(record + 8, 4);
    entry->crc = number_at(record + 16, 4);
    entry->packed = number_at(record + 20, 4);
    entry->size = number_at(record + 24, 4);
    entry->offset = number_at(record + 42, 4);
    left -= CENTRAL_BYTES + name;
  }
  zoo->entry_count = count;
  return left ? damaged(zoo, "its directory is inconsistent") : directory;
}

/* Checks that an entry is stored, before the directory and under the directory's header; then it has content. */
static bool locate(Zoo *zoo, Entry *entry, size_t directory) {
  size_t name = strlen(entry->name);
  if (entry->way || entry->packed != entry->size) return damaged(zoo, "an entry is compressed or encrypted");
  if (entry->size > MAX_ENTRY || entry->offset > directory ||
      directory - entry->offset < LOCAL_BYTES + name + entry->size)
    return damaged(zoo, "an entry does not lie in the file");
  const unsigned char *local = zoo->file + entry->offset;
  if (memcmp(local, "PK\3\4", 4) || number_at(local + 6, 4) || number_at(local + 14, 4) != entry->crc ||
      number_at(local + 18, 4) != entry->size || number_at(local + 22, 4) != entry->size ||
      number_at(local + 26, 2) != name || number_at(local + 28, 2) || memcmp(local + LOCAL_BYTES, entry->name, name))
    return damaged(zoo, "an entry's header does not match the directory");
  entry->content = local + LOCAL_BYTES + name;
  return true;
}

/* Checks that the entries, each with a name of its own, fill the file from the first to the directory without gaps. */
static bool check_layout(Zoo *zoo, size_t directory) {
  size_t start = zoo->entries->offset;
  for (Entry *entry = zoo->entries; entry < zoo->entries + zoo->entry_count; entry++) {
    if (!locate(zoo, entry, directory)) return false;
    if (entry->offset != start) return damaged(zoo, "an entry does not lie where it should");
    for (const Entry *other = zoo->entries; other < entry; other++)
      if (!strcmp(other->name, entry->name)) return damaged(zoo, "an entry occurs twice");
    start += LOCAL_BYTES + strlen(entry->name) + entry->size;
  }
  return start == directory || damaged(zoo, "there are bytes between its entries");
}

static bool matches(const char *declared, const unsigned char *data, size_t size) {
  char digest[65];
  if (whole(member(declared, "length")) != (long)size) return false;
  sha256(data, size, digest);
  return is_text(member(declared, "sha256"), digest);
}

static const Entry *find_entry(const Zoo *zoo, const char *name) {
  for (size_t i = 0; i < zoo->entry_count; i++)
    if (!strcmp(zoo->entries[i].name, name)) return &zoo->entries[i];
  return NULL;
}

/* Copies an entry's text, NUL behind it; for JSON also checks that it is. */
static char *read_text(Zoo *zoo, const char *name, size_t most, bool is_json) {
  const Entry *entry = find_entry(zoo, name);
  if (!entry || entry->size > most || !is_utf8(entry->content, entry->size))
    return fail(zoo, "'%.200s' has no entry '%s' that can be read; export it again.", zoo->path, name), NULL;
  char *text = malloc(entry->size + 1);
  if (!text) return no_memory(zoo), NULL;
  memcpy(text, entry->content, entry->size);
  text[entry->size] = 0;
  const char *end = is_json ? skip_value(skip_space(text), 0) : NULL;
  if (!is_json || (*skip_space(text) == '{' && end && !*skip_space(end))) return text;
  free(text);
  return damaged(zoo, "it holds JSON that cannot be read"), NULL;
}

/* Points zoo->tokens at the lines of the vocabulary; a line's number is its id. */
static bool read_vocabulary(Zoo *zoo) {
  if (!find_entry(zoo, "preprocessor/vocab.txt")) return true; /* forecasts have none */
  if (!(zoo->vocabulary = read_text(zoo, "preprocessor/vocab.txt", MAX_ENTRY, false))) return false;
  for (const char *at = zoo->vocabulary; (at = strchr(at, '\n')); at++) zoo->token_count++;
  if (zoo->token_count > MAX_TOKENS) return damaged(zoo, "its vocabulary is too large");
  if (!(zoo->tokens = calloc(zoo->token_count + 1, sizeof *zoo->tokens))) return no_memory(zoo);
  char *line = zoo->vocabulary;
  for (size_t i = 0; i < zoo->token_count; i++) {
    zoo->tokens[i] = line;
    line = strchr(line, '\n');
    if (line - zoo->tokens[i] > MAX_TOKEN) return damaged(zoo, "its vocabulary has a token that is too long");
    *line++ = 0;
  }
  return !*line || damaged(zoo, "the last line of its vocabulary has no end");
}

static bool read_bundle(Zoo *zoo) {
  if (!read_file(zoo)) return false;
  if (memcmp(zoo->file + 4, "TFL3", 4)) return fail(zoo, "'%.200s' is not a .tflite file.", zoo->path);
  size_t directory = read_directory(zoo);
  if (!directory) return false;
  Entry *first = zoo->entries;
  if (strcmp(first->name, "manifest.json")) return foreign(zoo);
  if (!locate(zoo, first, directory)) return false;
  if (first->size > MAX_JSON || crc32(first->content, first->size) != first->crc)
    return damaged(zoo, "its manifest is too large or does not match its checksum");
  if (!(zoo->manifest = read_text(zoo, first->name, MAX_JSON, true))) return false;
  const char *manifest = skip_space(zoo->manifest), *declared = member(manifest, "entries");
  if (!is_text(member(manifest, "format"), "attention-zoo bundle")) return foreign(zoo);
  long version = whole(member(manifest, "format_version"));
  if (version < 1) return damaged(zoo, "its format_version is not a number");
  if (version > NEWEST_FORMAT)
    return fail(zoo, "'%.200s' was made by a newer version (bundle format %ld, this client reads up to %d); "
                     "get a newer zoo_edge.", zoo->path, version, NEWEST_FORMAT);
  const char *task = member(manifest, "task");
  zoo->signatures = member(manifest, "signatures"); /* from version 2 on */
  if (!task || *task != '"' || (version > 1 && !zoo->signatures))
    return damaged(zoo, "its manifest names no task or does not describe the model's signatures");
  if (!check_layout(zoo, directory)) return false;
  zoo->model_size = first->offset;
  if (!matches(member(manifest, "flatbuffer"), zoo->file, zoo->model_size))
    return damaged(zoo, "the model does not match its SHA-256");
  if (count_items(declared) != zoo->entry_count - 1 || (declared && *declared != '{'))
    return damaged(zoo, "its entries are not those of its manifest");
  for (const char *key = NULL; zoo->entry_count > 1 && (key = next_item(declared, key));) {
    Entry *entry = first + 1;
    while (entry < first + zoo->entry_count && !is_text(key, entry->name)) entry++;
    if (entry == first + zoo->entry_count || entry->declared)
      return damaged(zoo, "its entries are not those of its manifest");
    if (!matches(value_of(key), entry->content, entry->size))
      return damaged(zoo, "an entry does not match its SHA-256");
    entry->declared = true;
  }
  if (!(zoo->preprocessor = read_text(zoo, "preprocessor/preprocessor.json", MAX_JSON, true))) return false;
  const char *settings = member(skip_space(zoo->preprocessor), "format_version"); /* forecasts have none */
  if (settings && whole(settings) != 1) return fail(zoo, "'%.200s' needs a newer zoo_edge.", zoo->path);
  return read_vocabulary(zoo);
}

/* ---- The model ---- */

#define CALL(call)                                                                                                     \
  do {                                                                                                                 \
    LiteRtStatus status = (call);                                                                                      \
    if (status)                                                                                                        \
      return fail(zoo, "LiteRT cannot run '%.200s': %.*s gives status %d.", zoo->path, (int)strcspn(#call, "("),       \
                  #call, status);                                                                                      \
  } while (0)

/* Another version of LiteRT may take other arguments. Its table of functions, 1352 bytes in 2.3, grows with them. */
static bool right_library(Zoo *zoo) {
#ifdef __GLIBC__
  Dl_info where;
  void *symbol = NULL, *table = dlsym(RTLD_DEFAULT, "kLiteRtRuntimeBuiltin");
  if (!table || !dladdr1(table, &where, &symbol, RTLD_DL_SYMENT) || !symbol ||
      ((const ElfW(Sym) *)symbol)->st_size != 1352)
    return fail(zoo, "The LiteRT library found at run time is not version 2.3; build zoo_edge again.");
#endif
  return zoo->model_size > 0;
}

static bool prepare(Zoo *zoo, Tensor *tensor, LiteRtTensor handle) {
  CALL(LiteRtGetRankedTensorType(handle, &tensor->type));
  const LiteRtRankedTensorType *type = &tensor->type;
  if ((type->element_type != F32 && type->element_type != I32 && type->element_type != U8) || type->rank > 8)
    return fail(zoo, "'%.200s' has a tensor that is not float32, int32 or uint8.", zoo->path);
  tensor->bytes = type->element_type == U8 ? 1 : 4;
  for (unsigned i = 0; i < type->rank; i++) {
    if (type->dimensions[i] < 1 || (size_t)type->dimensions[i] > MAX_ENTRY / tensor->bytes)
      return fail(zoo, "'%.200s' has a tensor of dynamic or unbounded size.", zoo->path);
    tensor->bytes *= (size_t)type->dimensions[i];
  }
  if (posix_memalign(&tensor->data, 64, tensor->bytes + 64)) return tensor->data = NULL, no_memory(zoo);
  memset(tensor->data, 0, tensor->bytes + 64);
  CALL(LiteRtCreateTensorBufferFromHostMemory(type, tensor->data, tensor->bytes, NULL, &tensor->buffer));
  return true;
}

/* Whether the manifest describes these tensors of `serving_default`, and no others. */
static bool described(const Zoo *zoo, const char *side, const Tensor *tensors, size_t count) {
  const char *all = member(member(zoo->signatures, "serving_default"), side);
  if (count_items(all) != count) return false;
  for (size_t i = 0; i < count; i++) {
    const LiteRtRankedTensorType *type = &tensors[i].type;
    const char *item = NULL, *one = member(all, tensors[i].name), *shape = member(one, "shape");
    if (!is_text(member(one, "dtype"), TYPES[type->element_type]) || !shape || *shape != '[') return false;
    for (unsigned axis = 0; axis < type->rank; axis++)
      if (!(item = next_item(shape, item)) || whole(item) != type->dimensions[axis]) return false;
    if (next_item(shape, item)) return false;
  }
  return true;
}

static bool open_model(Zoo *zoo) {
  const LiteRtEnvOption options[] = {{OPTION_ACCELERATORS, 0, INTEGER, 0, ON_CPU},
                                     {OPTION_LOG_SEVERITY, 0, INTEGER, 0, ERRORS_ONLY}};
  size_t count = 0;
  const char *key = "";
  LiteRtSignature signature = NULL;
  LiteRtTensor handle = NULL;
  if (!right_library(zoo)) return false;
  CALL(LiteRtCreateEnvironment(2, options, &zoo->environment));
  CALL(LiteRtCreateModelFromBuffer(zoo->environment, zoo->file, zoo->model_size, &zoo->model));
  CALL(LiteRtCreateOptions(&zoo->options));
  CALL(LiteRtSetOptionsHardwareAccelerators(zoo->options, ON_CPU));
  CALL(LiteRtCreateCompiledModel(zoo->environment, zoo->model, zoo->options, &zoo->compiled));
  CALL(LiteRtGetNumModelSignatures(zoo->model, &count));
  for (size_t i = 0; i < count && strcmp(key, "serving_default"); i++) {
    zoo->signature = i;
    CALL(LiteRtGetModelSignature(zoo->model, i, &signature));
    CALL(LiteRtGetSignatureKey(signature, &key));
  }
  if (strcmp(key, "serving_default")) return fail(zoo, "'%.200s' has no signature 'serving_default'.", zoo->path);
  CALL(LiteRtGetNumSignatureInputs(signature, &zoo->input_count));
  CALL(LiteRtGetNumSignatureOutputs(signature, &zoo->output_count));
  if (zoo->input_count > MAX_TENSORS || zoo->output_count > MAX_TENSORS || !zoo->output_count)
    return fail(zoo, "'%.200s' has no outputs, or more than %d inputs or outputs.", zoo->path, MAX_TENSORS);
  for (size_t i = 0; i < zoo->input_count; i++) {
    CALL(LiteRtGetSignatureInputName(signature, i, &zoo->inputs[i].name));
    CALL(LiteRtGetSignatureInputTensorByIndex(signature, i, &handle));
    if (!prepare(zoo, &zoo->inputs[i], handle)) return false;
    if (zoo->inputs[i].type.rank && zoo->inputs[i].type.dimensions[0] != 1)
      return fail(zoo, "'%.200s' answers %d inputs at a time; export it for a batch of 1.", zoo->path,
                  (int)zoo->inputs[i].type.dimensions[0]);
  }
  for (size_t i = 0; i < zoo->output_count; i++) {
    CALL(LiteRtGetSignatureOutputName(signature, i, &zoo->outputs[i].name));
    CALL(LiteRtGetSignatureOutputTensorByIndex(signature, i, &handle));
    if (!prepare(zoo, &zoo->outputs[i], handle)) return false;
  }
  if (zoo->signatures && (!described(zoo, "inputs", zoo->inputs, zoo->input_count) ||
                          !described(zoo, "outputs", zoo->outputs, zoo->output_count)))
    return damaged(zoo, "the model's inputs and outputs are not those of its manifest");
  return true;
}

/* Runs the model once, from the inputs' data to the outputs' data. */
static bool run_model(Zoo *zoo) {
  LiteRtTensorBuffer inputs[MAX_TENSORS], outputs[MAX_TENSORS];
  for (size_t i = 0; i < zoo->input_count; i++) inputs[i] = zoo->inputs[i].buffer;
  for (size_t i = 0; i < zoo->output_count; i++) outputs[i] = zoo->outputs[i].buffer;
  CALL(LiteRtRunCompiledModel(zoo->compiled, zoo->signature, zoo->input_count, inputs, zoo->output_count, outputs));
  for (const Tensor *output = zoo->outputs; output < zoo->outputs + zoo->output_count; output++)
    for (size_t i = 0; output->type.element_type == F32 && i < output->bytes / 4; i++)
      if (!isfinite(((const float *)output->data)[i]))
        return fail(zoo, "The model gives '%.40s' values that are not numbers; check the input.", output->name);
  return true;
}

/* Does something with LiteRT while stderr is closed: it talks there about delegates and failures, and no setting stops
   that, but an error is to be one line. */
static bool quietly(Zoo *zoo, bool (*work)(Zoo *)) {
  int saved = dup(2), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (saved >= 0 && nowhere >= 0) dup2(nowhere, 2);
  bool good = work(zoo);
  if (saved >= 0) dup2(saved, 2), close(saved);
  if (nowhere >= 0) close(nowhere);
  return good;
}

/* Finds an input or output of batch 1 and checks its type, rank and sizes behind the batch. */
enum { ANY = -2 };
static Tensor *need(Zoo *zoo, bool input, const char *name, int32_t type, unsigned rank, long a, long b, long c) {
  Tensor *tensors = input ? zoo->inputs : zoo->outputs, *found = NULL;
  const long sizes[] = {1, a, b, c};
  for (size_t i = 0; i < (input ? zoo->input_count : zoo->output_count); i++)
    if (!strcmp(tensors[i].name, name)) found = &tensors[i];
  bool good = found && found->type.element_type == type && found->type.rank == rank && zoo->input_count == 1;
  for (unsigned i = 0; good && i < rank; i++) good = sizes[i] == ANY || found->type.dimensions[i] == sizes[i];
  if (!good) fail(zoo, "'%.200s' does not have the %s '%s' of the expected type and size; export it again.", zoo->path,
                  input ? "one input" : "output", name);
  return good ? found : NULL;
}

/* ---- Commands ---- */

/* Fills the input from stdin, which must hold exactly its bytes. */
static bool read_input(Zoo *zoo, Tensor *input, const char *what) {
  size_t got = fread(input->data, 1, input->bytes, stdin);
  bool more = got == input->bytes && getchar() != EOF;
  if (got == input->bytes && !more) return true;
  return fail(zoo, "The model takes %zu bytes on stdin (%s), not %s%zu.", input->bytes, what, more ? "more than " : "",
              got);
}

/* The number of bytes of a control character at `at` (ASCII's, or U+0080 to U+009F), or 0. */
static size_t control(const char *at) {
  const unsigned char *c = (const unsigned char *)at;
  return c[0] < 0x20 || c[0] == 0x7f ? 1 : c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0 ? 2 : 0;
}

/* Prints text up to `end`; a file must not send control sequences to the terminal. */
static void print_text(FILE *out, const char *text, const char *end) {
  for (; text < end; text += control(text) ? control(text) : 1) fputc(control(text) ? '?' : *text, out);
}

static void print_json(const char *text) {
  putchar('"');
  for (; *text; text += control(text) ? control(text) : 1) {
    if (control(text)) printf("\\u%04x", (unsigned)(unsigned char)text[control(text) - 1]);
    else printf(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
  }
  putchar('"');
}

/* Returns the tokens as a caption: joined, U+2581 as a space, stripped. Ids 0 to 3 are no text. */
static char *join(const Zoo *zoo, const int32_t *ids, size_t count) {
  size_t room = 1, used = 0;
  for (size_t i = 0; i < count; i++) room += strlen(zoo->tokens[ids[i]]);
  char *text = malloc(room);
  for (size_t i = 0; text && i < count; i++) {
    for (const char *at = zoo->tokens[ids[i]]; ids[i] > 3 && *at;) {
      bool space = !strncmp(at, "\xe2\x96\x81", 3);
      if (!space || used) text[used++] = space ? ' ' : *at;
      at += space ? 3 : 1;
    }
  }
  while (text && used && text[used - 1] == ' ') used--;
  if (text) text[used] = 0;
  return text;
}

static bool caption(Zoo *zoo, long height, long width, bool json) {
  const char *image = member(skip_space(zoo->preprocessor), "image");
  long high = whole(member(image, "height")), wide = whole(member(image, "width"));
  if (high < 1 || wide < 1) return damaged(zoo, "it does not say the size of its pictures");
  if (height != high || width != wide)
    return fail(zoo, "The model takes pictures of %ldx%ld (height x width), not %ldx%ld; resize the picture.", high,
                wide, height, width);
  Tensor *input = need(zoo, true, "image", U8, 4, high, wide, 3), *score = need(zoo, false, "score", F32, 1, 0, 0, 0);
  Tensor *tokens = need(zoo, false, "tokens", I32, 2, ANY, 0, 0), *length = need(zoo, false, "length", I32, 0, 0, 0, 0);
  if (!input || !score || !tokens || !length || !read_input(zoo, input, "red, green, blue, row by row")) return false;
  if (!quietly(zoo, run_model)) return false;
  const int32_t *ids = tokens->data, count = *(const int32_t *)length->data;
  if (count < 0 || count > tokens->type.dimensions[1])
    return fail(zoo, "The model gives a caption of %d tokens; the file is damaged.", (int)count);
  for (int32_t i = 0; i < count; i++)
    if (ids[i] < 0 || (size_t)ids[i] >= zoo->token_count)
      return fail(zoo, "Token %d is outside the vocabulary of %zu; the file is damaged.", (int)ids[i],
                  zoo->token_count);
  char *text = join(zoo, ids, (size_t)count);
  if (!text) return no_memory(zoo);
  if (json) {
    printf("{\"text\": ");
    print_json(text);
    printf(", \"score\": %.9g, \"tokens\": [", (double)*(const float *)score->data);
    const char *comma = "";
    for (int32_t i = 0; i < count; i++) {
      if (ids[i] < 4) continue;
      printf("%s", comma);
      print_json(zoo->tokens[ids[i]]);
      comma = ", ";
    }
    printf("]}\n");
  } else {
    print_text(stdout, text, text + strlen(text));
    printf("  (%.2f)\n", (double)*(const float *)score->data);
  }
  free(text);
  return true;
}

/* Prints a line a class, the most probable first: probability, tabulator, name as a JSON string. */
static bool classify(Zoo *zoo) {
  const char *settings = skip_space(zoo->preprocessor), *names = member(settings, "classes");
  size_t count = count_items(names);
  Tensor *input = need(zoo, true, "tokens", I32, 2, whole(member(settings, "max_length")), 0, 0);
  Tensor *output = need(zoo, false, "probabilities", F32, 2, (long)count, 0, 0);
  if (!input || !output || !read_input(zoo, input, "ids as int32")) return false;
  const int32_t *ids = input->data;
  bool any = false;
  for (size_t i = 0; i < input->bytes / 4; any = any || ids[i], i++)
    if (ids[i] < 0 || (size_t)ids[i] >= zoo->token_count)
      return fail(zoo, "Id %d is outside the vocabulary of %zu.", (int)ids[i], zoo->token_count);
  if (!any) return fail(zoo, "All ids are padding (0); a text without words is the one id 1.");
  if (!quietly(zoo, run_model)) return false;
  float *values = output->data;
  for (size_t printed = 0; printed < count; printed++) {
    size_t best = 0, i = 0;
    for (size_t j = 1; j < count; j++)
      if (values[j] > values[best]) best = j;
    for (const char *name = next_item(names, NULL); name; name = next_item(names, name))
      if (i++ == best) printf("%.9g\t", (double)values[best]), print_text(stdout, name, skip_value(name, 0));
    putchar('\n');
    values[best] = -1; /* below every probability */
  }
  return true;
}

/* Prints a line a step: mean and quantiles, under a line that names them. */
static bool forecast(Zoo *zoo) {
  const char *settings = skip_space(zoo->preprocessor), *levels = member(settings, "levels");
  long steps = whole(member(settings, "window")), horizon = whole(member(settings, "horizon"));
  size_t columns = count_items(member(settings, "columns")), count = count_items(levels);
  char what[64];
  Tensor *input = need(zoo, true, "window", F32, 3, steps, (long)columns, 0);
  Tensor *means = need(zoo, false, "mean", F32, 2, horizon, 0, 0);
  Tensor *quantiles = need(zoo, false, "quantiles", F32, 3, horizon, (long)count, 0);
  snprintf(what, sizeof what, "%ld steps of %zu float32", steps, columns);
  if (!input || !means || !quantiles || !count || !read_input(zoo, input, what)) return false;
  for (size_t i = 0; i < input->bytes / 4; i++)
    if (!isfinite(((const float *)input->data)[i])) return fail(zoo, "Value %zu of the window is not a number.", i + 1);
  if (!quietly(zoo, run_model)) return false;
  const float *mean = means->data, *row = quantiles->data;
  printf("step\tmean");
  for (const char *level = next_item(levels, NULL); level; level = next_item(levels, level))
    printf("\t%g", strtod(level, NULL));
  for (long step = 0; step < horizon; step++, row += count) {
    printf("\n%ld\t%.9g", step + 1, (double)mean[step]);
    for (size_t i = 0; i < count; i++) printf("\t%.9g", (double)row[i]);
  }
  putchar('\n');
  return true;
}

/* Returns the content of one golden array, or NULL if it is not of the tensor's type and size. */
static const unsigned char *golden_array(const Zoo *zoo, const char *arrays, const Tensor *tensor) {
  const char *array = member(arrays, tensor->name), *file = member(array, "file");
  if (!is_text(member(array, "dtype"), TYPES[tensor->type.element_type])) return NULL;
  for (const Entry *entry = zoo->entries; entry < zoo->entries + zoo->entry_count; entry++)
    if (is_text(file, entry->name) && entry->size == tensor->bytes) return entry->content;
  return NULL;
}

/* Whether an output is the golden one: integers equal, forecasts within 1e-4 of the largest value, the rest 1e-3. */
static bool agrees(const Tensor *output, const unsigned char *golden) {
  if (output->type.element_type != F32) return !memcmp(output->data, golden, output->bytes);
  double largest = 0, furthest = 0;
  for (size_t i = 0; i < output->bytes / 4; i++) {
    float expected;
    memcpy(&expected, golden + 4 * i, 4);
    largest = fmax(largest, fabs((double)expected));
    furthest = fmax(furthest, fabs((double)((const float *)output->data)[i] - (double)expected));
    if (!isfinite(expected)) return false;
  }
  bool is_forecast = !strcmp(output->name, "mean") || !strcmp(output->name, "quantiles");
  return furthest <= (is_forecast ? 1e-4 * largest : 1e-3);
}

static bool self_test(Zoo *zoo) {
  if (!(zoo->golden = read_text(zoo, "golden/golden.json", MAX_JSON, true))) return false;
  const char *cases = member(skip_space(zoo->golden), "cases");
  size_t count = count_items(cases), passed = 0;
  if (!count || *cases != '[') return damaged(zoo, "it holds no golden cases");
  for (const char *item = next_item(cases, NULL); item; item = next_item(cases, item)) {
    bool good = true;
    for (Tensor *input = zoo->inputs; input < zoo->inputs + zoo->input_count; input++) {
      const unsigned char *array = golden_array(zoo, member(item, "inputs"), input);
      if (!array) return damaged(zoo, "a golden case has no array for an input");
      memcpy(input->data, array, input->bytes);
    }
    if (!quietly(zoo, run_model)) return false;
    for (const Tensor *output = zoo->outputs; output < zoo->outputs + zoo->output_count; output++) {
      const unsigned char *array = golden_array(zoo, member(item, "outputs"), output);
      if (!array) return damaged(zoo, "a golden case has no array for an output");
      good = good && agrees(output, array);
    }
    passed += good;
  }
  printf("%s %zu of %zu\n", passed == count ? "PASS" : "FAIL", passed, count);
  return passed == count || fail(zoo, "'%.200s' does not give its golden answers here; do not use it.", zoo->path);
}

static bool answer(Zoo *zoo, const char *command, long height, long width, bool json) {
  static const char *const tasks[][2] = {
      {"caption", "captioning"}, {"tokens", "text_classification"}, {"window", "forecasting"}};
  if (!read_bundle(zoo)) return false;
  for (size_t i = 0; i < 3; i++)
    if (!strcmp(command, tasks[i][0]) && (!is_text(member(skip_space(zoo->manifest), "task"), tasks[i][1]) ||
                                          !is_text(member(skip_space(zoo->preprocessor), "kind"), tasks[i][1])))
      return fail(zoo, "'%.200s' is not a model for %s, which '%s' is for.", zoo->path, tasks[i][1], command);
  if (!quietly(zoo, open_model)) return false;
  if (!strcmp(command, "self-test")) return self_test(zoo);
  if (!strcmp(command, "caption")) return caption(zoo, height, width, json);
  return !strcmp(command, "tokens") ? classify(zoo) : forecast(zoo);
}

int main(int count, char **words) {
  static Zoo zoo;
  const char *command = count > 2 ? words[2] : "";
  const uint16_t one = 1;
  int height = 0, width = 0, end = 0;
  bool sized = !strcmp(command, "caption"), json = sized && count > 4 && !strcmp(words[4], "--json");
  bool plain = !strcmp(command, "self-test") || !strcmp(command, "window") || !strcmp(command, "tokens");
  bool size = sized && count > 3 && sscanf(words[3], "%5dx%5d%n", &height, &width, &end) == 2 && !words[3][end];
  if (!(plain && count == 3) && !(size && count == 4 + json)) {
    fputs("usage: zoo_edge FILE.tflite self-test | caption HEIGHTxWIDTH [--json] | window | tokens\n", stderr);
    return 2;
  }
  zoo.path = words[1];
  bool good = *(const unsigned char *)&one ? answer(&zoo, command, height, width, json)
                                           : fail(&zoo, "This machine is not little-endian.");
  if (good && (fflush(stdout) || ferror(stdout))) good = fail(&zoo, "The answer cannot be written to stdout.");
  if (!good) {
    fputs("zoo_edge: error: ", stderr);
    print_text(stderr, zoo.error, zoo.error + strlen(zoo.error));
    fputc('\n', stderr);
  }
  release(&zoo);
  return good ? 0 : 1;
}
