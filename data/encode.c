/* Lines to subwords or ids; see encode.h.  The threads are blocks.c's. */
#include "encode.h"

#include "blocks.h"
#include "output.h"

typedef struct pass {
    const tn__encode *e;
    tn_lines *lines;
    tn__output text;
    tn_token_writer *ids; /* NULL: to text */
    int64_t sentences;
} pass;

static bool read_line(void *arg, tn__slot *s)
{
    pass *t = arg;
    const char *line;
    size_t n;
    s->in[0].len = 0;
    if (!tn_lines_next(t->lines, &line, &n))
        return false;
    t->e->to->bytes += (int64_t)n + 1;
    return tn_text_add(&s->in[0], line, n);
}

static bool change_line(void *arg, tn__slot *s)
{
    const pass *t = arg;
    const tn_text *words = &s->in[0];
    if (t->e->bpe) {
        if (!tn_bpe_apply(t->e->bpe, words->at, words->len, &s->out[0]))
            return false;
        words = &s->out[0];
    }
    return !t->ids || tn_dictionary_encode(t->e->dictionary, words->at, words->len, &s->ids);
}

static bool write_line(void *arg, const tn__slot *s)
{
    pass *t = arg;
    if (!t->ids)
        return tn__output_write(&t->text, s->out[0].at, s->out[0].len) && tn__output_write(&t->text, "\n", 1);
    if (t->e->skip_blank && s->ids.len == 1) /* the end alone */
        return true;
    t->sentences++;
    return tn_token_writer_add(t->ids, s->ids.at, s->ids.len);
}

static bool tell(void *arg) { return tn__folder_tell(((pass *)arg)->e->to); }

static bool run_pass(pass *t)
{
    const tn__passage passage = {read_line, change_line, write_line, tell, t};
    const bool ok = tn__folder_step(t->e->to, t->e->what, 1, &t->e->from) &&
                    (t->lines = tn_lines_open(t->e->from)) && tn__blocks_run(&passage);
    tn_free(t->lines);
    return ok;
}

bool tn__encode_text(const tn__encode *e, const char *path)
{
    pass t = {.e = e};
    const bool ok = tn__output_open(&t.text, e->to->who, path) && run_pass(&t) && tn__output_close(&t.text);
    tn__output_drop(&t.text);
    return ok;
}

bool tn__encode_ids(const tn__encode *e, const char *path)
{
    pass t = {.e = e, .ids = tn_token_writer_open(path)};
    bool ok = t.ids && run_pass(&t);
    if (ok && t.sentences == 0)
        ok = tn_fail(TN_EFORMAT, "%s: %s holds no text", e->to->who, e->from);
    if (ok) {
        ok = tn_token_writer_close(t.ids);
        t.ids = NULL;
    }
    tn_free(t.ids);
    return ok;
}
