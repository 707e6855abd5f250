/* Any bytes as lines of the files of IWSLT'14, tags and XML: what is left must be what the same rules leave when
 * they are regular expressions, as fairseq's script has them. */
#include "fuzz.h"

#include <regex.h>

#include "../../data/prepare.h"

typedef struct rule {
    const char *pattern, *with;
} rule;

static const rule train[] = {{"<title>", ""}, {"</title>", ""}, {"<description>", ""}, {"</description>", ""}, {NULL, NULL}};
static const rule test[] = {
    {"<seg id=\"[0-9]*\">[[:space:]]*", ""}, {"[[:space:]]*</seg>[[:space:]]*", ""}, {"\xe2\x80\x99", "'"}, {NULL, NULL},
};

/* s/pattern/with/g for each; the text is freed, the outcome is to be. */
static char *by_rules(char *text, const rule *rules)
{
    for (; rules->pattern; rules++) {
        regex_t r;
        regmatch_t m;
        tn_text out = {0};
        fuzz_check(regcomp(&r, rules->pattern, 0) == 0 && tn_text_add(&out, "", 0));
        const char *at = text;
        for (; regexec(&r, at, 1, &m, at == text ? 0 : REG_NOTBOL) == 0; at += m.rm_eo)
            fuzz_check(tn_text_add(&out, at, (size_t)m.rm_so) && tn_text_add(&out, rules->with, strlen(rules->with)));
        fuzz_check(tn_text_add(&out, at, strlen(at)));
        regfree(&r);
        free(text);
        text = out.at;
    }
    return text;
}

static void check_line(tn__sentence_of *of, const rule *rules, const char *line, size_t n, tn_text *out)
{
    bool there;
    fuzz_check(of(line, n, out, &there) && out->len <= n && out->at[out->len] == 0);
    if (!there || memchr(line, 0, n) || n > 1000)
        return;
    char *wanted = by_rules(strndup(line, n), rules);
    fuzz_check(strcmp(wanted, out->at) == 0);
    free(wanted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int fd = fuzz_fd();
    const char *line;
    size_t n;
    tn_text out = {0};
    fuzz_check(pwrite(fd, data, size, 0) == (ssize_t)size);
    tn_lines *l = tn_lines_open(fuzz_path(fd));
    while (tn_lines_next(l, &line, &n)) {
        check_line(tn__iwslt14_train, train, line, n, &out);
        check_line(tn__iwslt14_test, test, line, n, &out);
    }
    tn_free(l);
    tn_text_end(&out);
    tn_error_clear();
    return 0;
}
