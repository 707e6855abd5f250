/* See events.h.  The formats: tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/
 * event.proto, tensorflow/core/framework/summary.proto. */
#define _GNU_SOURCE
#include "events.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <tenon.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 2048, HOST = 64, PATH = 768 };

/* ---- protobuf ---- */

typedef struct message { /* n beyond its room: something did not fit */
    size_t n;
    unsigned char at[MESSAGE];
} message;

enum wire { VARINT, FIXED64, BYTES, FIXED32 = 5 };

static void put(message *m, const void *bytes, size_t n)
{
    if (m->n + n <= MESSAGE)
        memcpy(m->at + m->n, bytes, n);
    m->n += n;
}

static void put_little(message *m, uint64_t value, size_t bytes)
{
    for (; bytes > 0; bytes--, value >>= 8)
        put(m, &(unsigned char){(unsigned char)value}, 1);
}

static void put_varint(message *m, uint64_t value)
{
    for (; value > 127; value >>= 7)
        put_little(m, value | 128, 1);
    put_little(m, value, 1);
}

static void put_key(message *m, unsigned field, enum wire type)
{
    put_varint(m, field << 3 | type);
}

static void put_integer(message *m, unsigned field, int64_t value)
{
    put_key(m, field, VARINT);
    put_varint(m, (uint64_t)value);
}

static void put_double_bits(message *m, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_little(m, bits, sizeof bits);
}

static void put_double(message *m, unsigned field, double value)
{
    put_key(m, field, FIXED64);
    put_double_bits(m, value);
}

static void put_float(message *m, unsigned field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(m, field, FIXED32);
    put_little(m, bits, sizeof bits);
}

static void put_bytes(message *m, unsigned field, const void *bytes, size_t n)
{
    put_key(m, field, BYTES);
    put_varint(m, n);
    put(m, bytes, n);
}

static void put_text(message *m, unsigned field, const char *text)
{
    put_bytes(m, field, text, strlen(text));
}

static void put_message(message *m, unsigned field, const message *inner)
{
    if (inner->n <= MESSAGE)
        put_bytes(m, field, inner->at, inner->n);
    else
        m->n = MESSAGE + 1;
}

static void put_doubles(message *m, unsigned field, const double *values, int n)
{
    put_key(m, field, BYTES);
    put_varint(m, (uint64_t)n * sizeof *values);
    for (int i = 0; i < n; i++)
        put_double_bits(m, values[i]);
}

/* ---- records ---- */

static uint32_t crc32c(const unsigned char *bytes, size_t n)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void put_crc(message *m, const unsigned char *bytes, size_t n)
{
    const uint32_t crc = crc32c(bytes, n);
    put_little(m, (uint32_t)((crc >> 15 | crc << 17) + 0xa282ead8u), 4);
}

static bool write_record(FILE *file, const message *m)
{
    message head = {0}, tail = {0};
    if (m->n > MESSAGE) {
        tn_fail(TN_EARG, "event file: a record of %zu bytes; %d is the most", m->n, MESSAGE);
        return false;
    }
    put_little(&head, m->n, 8);
    put_crc(&head, head.at, 8);
    put_crc(&tail, m->at, m->n);
    if (fwrite(head.at, head.n, 1, file) != 1 || fwrite(m->at, m->n, 1, file) != 1 ||
        fwrite(tail.at, tail.n, 1, file) != 1 || fflush(file) != 0) {
        tn_fail(TN_EIO, "event file cannot be written: %s", strerror(errno));
        return false;
    }
    return true;
}

/* ---- events: the numbers are the fields' in the .proto files ---- */

enum { SUMMARY = 5, SESSION_LOG = 7 };

static message event(int64_t step)
{
    struct timespec now;
    message m = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    put_double(&m, 1, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
    put_integer(&m, 2, step);
    return m;
}

/* The keys of metrics.jsonl that become scalars, and their tags. */
static const struct scalar {
    const char *key, *tag;
} scalars[] = {
    {"loss", "train/loss"},
    {"accuracy", "train/accuracy"},
    {"nll", "train/nll"},
    {"loss_bits", "train/loss_bits"},
    {"ppl", "train/ppl"},
    {"grad_norm", "train/grad_norm"},
    {"images_per_s", "train/images_per_s"},
    {"tokens_per_s", "train/tokens_per_s"},
    {"train_loss", "train/epoch_loss"},
    {"train_accuracy", "train/epoch_accuracy"},
    {"train_ppl", "train/epoch_ppl"},
    {"valid_loss", "valid/loss"},
    {"valid_nll", "valid/nll"},
    {"valid_ppl", "valid/ppl"},
    {"best_nll", "valid/best_nll"},
    {"test_loss", "test/loss"},
    {"test_accuracy", "test/accuracy"},
    {"best", "test/best"},
    {"lr", "lr"},
};

bool events_line(FILE *file, const json_t *line)
{
    message summary = {0};
    if (!file)
        return true;
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++) {
        const json_t *number = json_object_get(line, scalars[i].key);
        if (!json_is_number(number))
            continue;
        message value = {0};
        put_text(&value, 1, scalars[i].tag);
        put_float(&value, 2, (float)json_number_value(number));
        put_message(&summary, 1, &value);
    }
    message m = event(json_integer_value(json_object_get(line, "step")));
    put_message(&m, SUMMARY, &summary);
    return write_record(file, &m);
}

bool events_histogram(FILE *file, int64_t step, const char *tag, const events_buckets *b)
{
    const double numbers[] = {b->min, b->max, b->number, b->sum, b->squares};
    message histogram = {0}, value = {0}, summary = {0};
    if (!file)
        return true;
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        put_double(&histogram, i + 1, numbers[i]);
    put_doubles(&histogram, 6, b->limit, b->n);
    put_doubles(&histogram, 7, b->count, b->n);
    put_text(&value, 1, tag);
    put_message(&value, 5, &histogram);
    put_message(&summary, 1, &value);
    message m = event(step);
    put_message(&m, SUMMARY, &summary);
    return write_record(file, &m);
}

/* ---- files ---- */

/* TensorBoard reads the files of a run in the order of their names. */
static int64_t time_for_name(const char *dir)
{
    int64_t best = (int64_t)time(NULL), seen;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        if (sscanf(e->d_name, "events.out.tfevents.%10" SCNd64 ".", &seen) == 1 && seen >= best)
            best = seen + 1;
    if (d)
        closedir(d);
    return best;
}

FILE *events_open(const char *dir, int64_t step)
{
    char host[HOST] = "", path[PATH];
    if (gethostname(host, sizeof host - 1) != 0 || !*host)
        strcpy(host, "host");
    snprintf(path, sizeof path, "%s/events.out.tfevents.%010" PRId64 ".%s", dir, time_for_name(dir),
             host);
    FILE *file = fopen(path, "wbx");
    if (!file)
        return tn_fail(TN_EIO, "%s: %s", path, strerror(errno));
    message version = event(0), start = event(step + 1), session = {0};
    put_text(&version, 3, "brain.Event:2");
    put_integer(&session, 1, 1); /* START: readers drop what they have from this step on */
    put_message(&start, SESSION_LOG, &session);
    if (write_record(file, &version) && write_record(file, &start))
        return file;
    fclose(file);
    return NULL;
}
